//! The table of clause kinds: who enforces each, what it says and what a signer is shown. Documentation is generated from it.

use super::vocabulary::Enforcer;

/// One kind of clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindInfo {
    /// The kind as it stands in the terms.
    pub kind: &'static str,
    /// Who gives it effect.
    pub enforced_by: &'static [Enforcer],
    /// What a clause of this kind says.
    pub says: &'static str,
    /// The same in Chinese.
    pub says_zh: &'static str,
    /// What the signer is shown where software does not, or not alone, enforce it.
    pub shown: Option<&'static str>,
    /// The same in Chinese.
    pub shown_zh: Option<&'static str>,
    /// The test that proves its effect.
    pub test: &'static str,
}

/// Every kind of vocabulary 1, in the order of the vocabulary.
pub const KINDS: &[KindInfo] = &[
    KindInfo {
        kind: "permit",
        enforced_by: &[Enforcer::Hub, Enforcer::Node],
        says: "The parties named may perform one action on the assets named, within the purposes, place, number of parties and time stated.",
        says_zh: "所列各方可在所述目的、地点、参与方数量和期限内，对所列资产实施某一行为。",
        shown: None,
        shown_zh: None,
        test: "agreement::tests::judging::permits_need_every_condition",
    },
    KindInfo {
        kind: "forbid",
        enforced_by: &[Enforcer::Hub, Enforcer::Node],
        says: "One action on data of a class, or on named assets, is forbidden; a prohibition prevails over every permission.",
        says_zh: "禁止对某类数据或所列资产实施某一行为；禁止优先于任何许可。",
        shown: None,
        shown_zh: None,
        test: "agreement::tests::judging::forbid_wins_over_permit",
    },
    KindInfo {
        kind: "results",
        enforced_by: &[Enforcer::Hub, Enforcer::Ledger],
        says: "Who owns the results in which shares, and the only licence under which they may be released.",
        says_zh: "成果归谁所有、各占多少份额，以及发布成果唯一可用的许可证。",
        shown: Some(
            "The hub releases under no other licence; what third parties do with a released model is beyond software.",
        ),
        shown_zh: Some("中心不会以其他许可证发布成果；第三方如何使用已发布的模型，软件无法控制。"),
        test: "story::the_model_is_released_only_as_decided_and_licensed",
    },
    KindInfo {
        kind: "benefit",
        enforced_by: &[Enforcer::Ledger],
        says: "How benefits are shared, and how much goes to the compensation fund first.",
        says_zh: "收益如何分配，以及先行提取多少进入补偿基金。",
        shown: Some("The ledger computes what each party is owed; paying it is the parties' duty."),
        shown_zh: Some("账本计算各方应得数额；实际支付由各方履行。"),
        test: "story::a_payout_is_what_everybody_computes",
    },
    KindInfo {
        kind: "decide",
        enforced_by: &[Enforcer::Hub, Enforcer::Ledger],
        says: "Which matters the members decide together, by the rule of the charter.",
        says_zh: "哪些事项由成员按章程规则共同决定。",
        shown: None,
        shown_zh: None,
        test: "story::the_model_is_released_only_as_decided_and_licensed",
    },
    KindInfo {
        kind: "exit",
        enforced_by: &[Enforcer::Hub, Enforcer::Node, Enforcer::Duty],
        says: "How a party withdraws, with which notice, and what the others keep.",
        says_zh: "一方如何退出、须提前多久通知，以及其他各方可保留什么。",
        shown: Some(
            "Hub and node enforce the notice: when it ends, no work uses the party's assets any more. What the others may keep is for them to honour.",
        ),
        shown_zh: Some(
            "通知期由中心和节点执行：期满后，任何工作均不再使用该方资产。其他各方可保留什么，由各方自行遵守。",
        ),
        test: "story_changes::a_withdrawal_takes_effect_after_its_notice",
    },
    KindInfo {
        kind: "role",
        enforced_by: &[Enforcer::Record],
        says: "A party's role in the collaboration or in data protection law.",
        says_zh: "一方在合作中或在数据保护法上的角色。",
        shown: Some("Stands in the record only: software does not enforce this clause."),
        shown_zh: Some("仅作记载：软件不执行本条款。"),
        test: "agreement::tests::writing::record_only_clauses_are_marked",
    },
    KindInfo {
        kind: "incorporate",
        enforced_by: &[Enforcer::Record],
        says: "Another document, identified by its SHA-256 digest, becomes part of the record.",
        says_zh: "另一份以 SHA-256 摘要标识的文件成为记录的一部分。",
        shown: Some("Stands in the record only: software neither reads nor enforces the document."),
        shown_zh: Some("仅作记载：软件既不读取也不执行该文件。"),
        test: "agreement::tests::writing::record_only_clauses_are_marked",
    },
];

/// The table as Markdown, for the reference.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| kind | enforced by | says | shown to the signer | test |\n|---|---|---|---|---|\n");
    for kind in KINDS {
        let enforcers: Vec<_> = kind.enforced_by.iter().map(|e| e.code()).collect();
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | `{}` |\n",
            kind.kind,
            enforcers.join(", "),
            kind.says,
            kind.shown.unwrap_or("—"),
            kind.test
        ));
    }
    text
}
