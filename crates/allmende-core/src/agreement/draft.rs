//! A draft of terms to begin from: TOML with comments, which parses and passes `lint` as it stands.

use super::vocabulary::{Language, Purpose};
use crate::id::{AssetId, CollaborationId, Origin, PartyId};
use crate::signature::PublicKey;
use crate::time::Date;

/// A party of the draft.
#[derive(Debug, Clone)]
pub struct DraftParty {
    /// Which.
    pub id: PartyId,
    /// Its governance key.
    pub key: PublicKey,
    /// The office its representative signs in.
    pub signatory: String,
    /// The datasets that it brings.
    pub assets: Vec<AssetId>,
}

/// What a draft is made from.
#[derive(Debug, Clone)]
pub struct DraftInputs {
    /// What the agreement is called.
    pub title: String,
    /// The collaboration.
    pub collaboration: CollaborationId,
    /// Its log.
    pub origin: Origin,
    /// The hub's key.
    pub hub_key: PublicKey,
    /// First day.
    pub starts: Date,
    /// Last day.
    pub ends: Date,
    /// Last day of the offer.
    pub offer_expires: Date,
    /// Three capital letters.
    pub currency: String,
    /// The language that prevails, and that of the comments.
    pub language: Language,
    /// What the results are for.
    pub purpose: Vec<Purpose>,
    /// Who signs.
    pub parties: Vec<DraftParty>,
    /// A small set that its owner shares openly, if any.
    pub reference: Option<AssetId>,
    /// Fewest parties in a training.
    pub min_parties: u32,
    /// Who coordinates; the first party if not stated.
    pub coordinator: Option<PartyId>,
}

/// Text as a TOML string.
fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list of texts as a TOML array.
fn array<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    format!("[{}]", items.into_iter().map(|i| quote(&i.to_string())).collect::<Vec<_>>().join(", "))
}

/// Splits 100 per cent evenly; the first parties take what is left over.
fn even_shares(parties: &[DraftParty]) -> String {
    let count = parties.len().max(1);
    let (each, over) = (100 / count, 100 % count);
    let shares: Vec<_> = parties
        .iter()
        .enumerate()
        .map(|(i, party)| format!("{} = {}", party.id, each + usize::from(i < over)))
        .collect();
    format!("{{ {} }}", shares.join(", "))
}

/// The draft for joint training: rows stay with their owners, the model belongs to all.
///
/// The text is what people edit; [`super::terms::Terms::from_toml`] judges what they made of it.
#[must_use]
pub fn template(inputs: &DraftInputs) -> String {
    let zh = inputs.language == Language::Zh;
    let say = |en: &'static str, chinese: &'static str| if zh { chinese } else { en };
    let mut text = head(inputs);
    let mut clause = |id: &str, comment: &str, body: &str| {
        text.push_str(&format!("\n[[clause]]    # {comment}\nid = \"{id}\"\n{body}"));
    };
    let datasets: Vec<_> =
        inputs.parties.iter().flat_map(|p| &p.assets).filter(|a| Some(*a) != inputs.reference.as_ref()).collect();
    let data = if datasets.is_empty() { array(["*/*"]) } else { array(&datasets) };
    let held_out = if datasets.is_empty() {
        array(["*/*#held-out"])
    } else {
        array(datasets.iter().map(|a| format!("{a}#held-out")))
    };
    let models = array([format!("{}/*", inputs.collaboration)]);
    let everything = array(["*/*"]);

    clause(
        "1.1",
        say("members see each other's schemas and counts, no rows", "成员可见彼此的结构与计数，不可见数据行"),
        &format!("kind = \"permit\"\naction = \"see\"\nassets = {everything}\nby = [\"all\"]\nplace = \"anywhere\"\n"),
    );
    clause(
        "2.1",
        say("rows stay on the owner's node", "数据行留在所有者的节点上"),
        &format!(
            "kind = \"permit\"\naction = \"train\"\nassets = {data}\nby = [\"all\"]\nplace = \"owner\"\nmin_parties = {}\n",
            inputs.min_parties
        ),
    );
    clause(
        "2.2",
        say("integer confusion counts leave, no rows", "仅整数混淆计数离开节点，数据行不离开"),
        &format!("kind = \"permit\"\naction = \"evaluate\"\nassets = {held_out}\nby = [\"all\"]\nplace = \"owner\"\n"),
    );
    let sizes: Vec<_> = (1..inputs.parties.len().max(2)).map(|s| s.to_string()).collect();
    clause(
        "2.3",
        say("trainings of fewer parties, only to measure contribution", "较少参与方的训练，仅用于衡量贡献"),
        &format!(
            "kind = \"permit\"\naction = \"measure\"\nassets = {data}\nby = [\"all\"]\ncoalitions = [{}]\nplace = \"owner\"\n",
            sizes.join(", ")
        ),
    );
    let except = inputs.reference.as_ref().map_or(String::new(), |r| format!("except = {}\n", array([r])));
    clause(
        "2.4",
        say("wins over every permit, whatever an asset is called", "优先于任何许可，不论资产名称为何"),
        &format!("kind = \"forbid\"\naction = \"disclose\"\ndata = [\"record\"]\n{except}"),
    );
    if let Some(reference) = &inputs.reference {
        clause(
            "2.5",
            say("a small set that its owner shares openly", "所有者公开共享的小型数据集"),
            &format!(
                "kind = \"permit\"\naction = \"read\"\nassets = {}\nby = [\"all\"]\nplace = \"anywhere\"\n",
                array([reference])
            ),
        );
    }
    clause(
        "3.1",
        say("per cent; releases are refused under any other licence", "百分比；拒绝以其他许可证发布"),
        &format!(
            "kind = \"results\"\nof = \"model\"\nowners = {}\nlicence = \"{}\"\n",
            even_shares(&inputs.parties),
            // A permissive licence beside a purpose that is not commercial would be a contradiction.
            if inputs.purpose.contains(&Purpose::Commercial) { "Apache-2.0" } else { "CC-BY-NC-4.0" }
        ),
    );
    for (id, action, en, chinese) in [
        ("4.1", "read", "members download the joint models", "成员可下载共有模型"),
        ("4.2", "serve", "members answer predictions with them", "成员可用其提供预测服务"),
        ("4.3", "release", "published once decided as in 6.1", "按 6.1 作出决定后发布"),
        ("4.4", "derive", "the next run may build on them", "后续运行可在其基础上构建"),
    ] {
        clause(
            id,
            say(en, chinese),
            &format!(
                "kind = \"permit\"\naction = \"{action}\"\nassets = {models}\nby = [\"all\"]\nplace = \"anywhere\"\n"
            ),
        );
    }
    clause(
        "5.1",
        say(
            "counts on the held-out sets; 5 per cent to the compensation fund first",
            "按留出集计数；先提取百分之五进入补偿基金",
        ),
        "kind = \"benefit\"\nrule = \"shapley\"\nutility = \"correct\"\nempty = 0\nnegative = \"zero\"\nall_zero = \"equal\"\nfund = 5\n",
    );
    clause(
        "6.1",
        say("how is in the charter", "决策方式见章程"),
        "kind = \"decide\"\nwhat = [\"admit\", \"run\", \"release\", \"amend\", \"exclude\", \"end\"]\nby = \"charter\"\n",
    );
    clause("7.1", say("withdrawal", "退出"), "kind = \"exit\"\nnotice_days = 30\nkeeps = \"released-models\"\n");
    let coordinator = inputs.coordinator.as_ref().or_else(|| inputs.parties.first().map(|p| &p.id));
    if let Some(coordinator) = coordinator {
        clause(
            "8.1",
            say("in the record only", "仅作记载"),
            &format!("kind = \"role\"\nparty = {}\nrole = \"coordinator\"\n", quote(coordinator.as_str())),
        );
    }
    text.push_str(say(
        "\n# To bring another document into the record, give its SHA-256:\n",
        "\n# 如需将其他文件并入记录，请给出其 SHA-256：\n",
    ));
    text.push_str("# [[clause]]\n# id = \"9.1\"\n# kind = \"incorporate\"\n# name = \"Data management plan\"\n# digest = \"sha256:…\"\n");
    text
}

fn head(inputs: &DraftInputs) -> String {
    let zh = inputs.language == Language::Zh;
    let say = |en: &'static str, chinese: &'static str| if zh { chinese } else { en };
    let mut text = String::from(say(
        "# Terms of a collaboration. Edit, then: allmende agreement lint, show, propose.\n# What the program does not know is refused; a `note` beside a clause is free text that software does not enforce.\n",
        "# 合作条款。编辑后执行：allmende agreement lint、show、propose。\n# 程序不认识的内容会被拒绝；条款旁的 note 为自由文本，软件不执行。\n",
    ));
    text.push_str(&format!(
        "vocabulary    = 1\ntitle         = {}\npurpose       = {}    # {}\nstarts        = {}\nends          = {}    # {}\noffer_expires = {}\ncurrency      = {}\nlanguage      = \"{}\"    # {}\ncollaboration = \"{}\"\norigin        = \"{}\"\nhub_key       = \"{}\"\n",
        quote(&inputs.title),
        array(&inputs.purpose),
        say("research, education, care, commercial", "research 科研、education 教学、care 医疗、commercial 商业"),
        inputs.starts,
        inputs.ends,
        say("UTC, inclusive", "协调世界时，含当日"),
        inputs.offer_expires,
        quote(&inputs.currency),
        inputs.language,
        say("prevails", "以此语言为准"),
        inputs.collaboration,
        inputs.origin,
        inputs.hub_key
    ));
    text.push_str(say(
        "# contract = \"sha256:…\"      the paper contract that this annexes; it prevails\n",
        "# contract = \"sha256:…\"      本条款所附的书面合同；以其为准\n",
    ));
    text.push_str("parties = [\n");
    for party in &inputs.parties {
        text.push_str(&format!(
            "  {{ id = \"{}\", key = \"{}\", signatory = {} }},\n",
            party.id,
            party.key,
            quote(&party.signatory)
        ));
    }
    text.push_str("]\n");
    text
}
