//! Chinese wording.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Marks, escaped, joined, quoted};
use crate::agreement::clause::{Benefit, By, ClauseKind, Forbid, Permit};
use crate::agreement::pattern::AssetPattern;
use crate::agreement::terms::Terms;
use crate::agreement::vocabulary::{
    Action, BenefitRule, DataClass, Keeps, Language, Licence, Matter, Part, Place, Purpose, RoleCode,
};
use crate::id::PartyId;

/// The marks of Chinese.
pub const MARKS: Marks =
    Marks {
        note: "当事人自由文本（软件不执行）：", record: "*（仅作记载，软件不执行。）*", open: "*（", close: "）*"
    };

/// `甲、乙和丙`.
pub fn all<T: Display>(items: &[T]) -> String {
    joined(items, "、", "和")
}

/// `1、2或3`.
pub fn either<T: Display>(items: &[T]) -> String {
    joined(items, "、", " 或 ")
}

/// The verb, for one line.
pub const fn action(action: Action) -> &'static str {
    match action {
        Action::See => "查看",
        Action::Read => "读取",
        Action::Write => "修改",
        Action::Train => "训练使用",
        Action::Evaluate => "评估使用",
        Action::Measure => "为衡量贡献而训练使用",
        Action::Serve => "用于预测服务",
        Action::Disclose => "披露",
        Action::Release => "发布",
        Action::Derive => "衍生使用",
    }
}

fn named(parties: &[PartyId]) -> String {
    joined(parties, "、", " 和 ")
}

fn act(action: Action, target: &str) -> String {
    match action {
        Action::See => format!("知悉{target}的存在、结构与计数"),
        Action::Read => format!("下载并读取{target}"),
        Action::Write => format!("修改{target}"),
        Action::Train => format!("由{target}的数据行计算模型更新（训练）"),
        Action::Evaluate => format!("在{target}的数据行上计算模型指标（评估）"),
        Action::Measure => format!("以{target}训练较小组合的模型，且仅用于衡量各方的贡献"),
        Action::Serve => format!("以{target}提供预测服务"),
        Action::Disclose => format!("使{target}的数据行离开所有者的节点"),
        Action::Release => format!("发布{target}"),
        Action::Derive => format!("在{target}的基础上构建其他模型"),
    }
}

/// Whom a clause speaks of.
pub fn by(by: &By) -> String {
    match by {
        By::All => "各方".into(),
        By::Parties(parties) => named(parties),
    }
}

/// Where.
pub const fn place(place: Place) -> &'static str {
    match place {
        Place::Owner => "在所有者的节点上进行",
        Place::Anywhere => "在任一方的机器或中心上进行",
    }
}

/// A purpose.
pub const fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Research => "科学研究",
        Purpose::Education => "教学",
        Purpose::Care => "医疗诊治",
        Purpose::Commercial => "商业用途",
    }
}

/// Several purposes.
pub fn purposes(purposes: &[Purpose]) -> String {
    all(&purposes.iter().map(|p| purpose(*p)).collect::<Vec<_>>())
}

const fn class(class: DataClass) -> &'static str {
    match class {
        DataClass::Record => "“个案记录”（record）",
        DataClass::Reference => "“公开参考”（reference）",
        DataClass::Aggregate => "“汇总统计”（aggregate）",
        DataClass::Model => "“模型参数”（model）",
    }
}

/// `each` is 全部 where something is permitted and 任何 where it is forbidden: 不得…全部 could be read as forbidding less.
fn pattern(pattern: &AssetPattern, each: &str) -> String {
    let part = match pattern.part() {
        None => "",
        Some(Part::Train) => "的训练部分",
        Some(Part::HeldOut) => "的留出部分",
    };
    match (pattern.owner(), pattern.name()) {
        (Some(owner), Some(name)) => format!("{owner}/{name} {part}"),
        (Some(owner), None) => format!("{owner} 的{each}资产{part}"),
        (None, Some(name)) => format!("本协议项下名为“{name}”的{each}资产{part}"),
        (None, None) => format!("本协议项下{each}资产{part}"),
    }
}

fn patterns(assets: &[AssetPattern], each: &str, last: &str) -> String {
    let assets: Vec<_> = assets.iter().map(|p| pattern(p, each).trim().to_owned()).collect();
    spaced(&joined(&assets, "、", last))
}

/// A space between Latin letters and Chinese around them.
fn spaced(text: &str) -> String {
    let space = |c: Option<char>| if c.is_some_and(|c| c.is_ascii()) { " " } else { "" };
    format!("{}{text}{}", space(text.chars().next()), space(text.chars().last()))
}

/// What a prohibition speaks of, for one line.
pub fn targets(data: &[DataClass], assets: &[AssetPattern]) -> String {
    let classes: Vec<_> = data.iter().map(|c| class(*c)).collect();
    match (data.is_empty(), assets.is_empty()) {
        (false, true) => format!("{}类数据", all(&classes)),
        (false, false) => format!("{}类数据及 {}", all(&classes), all(assets)),
        _ => format!(" {}", all(assets)),
    }
}

/// The heading of a clause.
pub fn heading(rule: &ClauseKind) -> String {
    match rule {
        ClauseKind::Permit(p) => format!("许可：{}。", short(p.action)),
        ClauseKind::Forbid(f) => format!("禁止：{}。", short(f.action)),
        ClauseKind::Results(_) => "成果。".into(),
        ClauseKind::Benefit(_) => "收益。".into(),
        ClauseKind::Decide(_) => "决策。".into(),
        ClauseKind::Exit(_) => "退出。".into(),
        ClauseKind::Role(_) => "角色。".into(),
        ClauseKind::Incorporate(_) => "并入文件。".into(),
    }
}

const fn short(action: Action) -> &'static str {
    match action {
        Action::See => "查看",
        Action::Read => "读取",
        Action::Write => "修改",
        Action::Train => "训练",
        Action::Evaluate => "评估",
        Action::Measure => "衡量贡献",
        Action::Serve => "预测服务",
        Action::Disclose => "披露",
        Action::Release => "发布",
        Action::Derive => "衍生",
    }
}

/// The body of a clause.
pub fn clause(rule: &ClauseKind) -> String {
    match rule {
        ClauseKind::Permit(p) => permit(p),
        ClauseKind::Forbid(f) => forbid(f),
        ClauseKind::Results(r) => {
            let public = match r.licence {
                Licence::MembersOnly => "模型仅向各方发布，公众不获得任何许可。".into(),
                licence => format!("模型仅可按 {licence} 许可证（SPDX 标识）发布，不得采用其他许可证。"),
            };
            format!("本合作产生的模型由各方按下列份额共有：{}。{public}", shares(&r.owners))
        }
        ClauseKind::Benefit(b) => benefit(b),
        ClauseKind::Decide(d) => {
            let matters: Vec<_> = d.what.iter().map(|m| matter(*m)).collect();
            format!(
                "下列事项由各方按合作章程的规则共同决定，未经决定不得实施：{}。凡修订将使某一方的资产、义务、责任或份额受到不利影响的，无论章程如何规定，均须该方签署。",
                joined(&matters, "；", "；")
            )
        }
        ClauseKind::Exit(e) => {
            let keeps = match e.keeps {
                Keeps::ReleasedModels => "该日之前已发布的模型，其他各方仍可依其许可证使用。",
                Keeps::Nothing => "自该日起，其他各方不得在本合作中继续使用曾以该方资产训练的模型。",
            };
            let notice = match e.notice_days {
                0 => "可随时退出，退出通知立即生效".into(),
                days => format!("可随时退出，但须提前 {days} 日通知"),
            };
            format!(
                "任何一方{notice}；通知须为记入日志的签名声明。自退出生效之日起，不再使用该方的资产。{keeps}退出不影响此前已合法完成的行为。"
            )
        }
        ClauseKind::Role(r) => format!("{} {}。", r.party, role(r.role)),
        ClauseKind::Incorporate(i) => {
            format!("文件“{}”（摘要 {}）并入本协议的记录。", escaped(&i.name), i.digest)
        }
    }
}

fn permit(p: &Permit) -> String {
    let mut text = match &p.by {
        By::All => "各方均可".to_owned(),
        By::Parties(parties) => format!("{} 可", named(parties)),
    };
    match &p.purpose {
        Some(list) => text.push_str(&format!("为{}之目的，", purposes(list))),
        None => text.push_str("为本协议之目的，"),
    }
    text.push_str(act(p.action, &patterns(&p.assets, "全部", "和")).trim_end());
    text.push_str(match p.place {
        Place::Owner => "；仅限在资产所有者的节点上进行，数据行不得离开该节点",
        Place::Anywhere => "；可在任一方的机器或中心上进行",
    });
    if let Some(least) = p.min_parties {
        text.push_str(&format!("；参与方不得少于 {least} 方"));
    }
    if let Some(sizes) = &p.coalitions {
        text.push_str(&format!("；仅限 {} 方的组合", either(sizes)));
    }
    if let Some(until) = p.until {
        text.push_str(&format!("；截至 {until}（含当日）"));
    }
    text.push('。');
    text
}

fn forbid(f: &Forbid) -> String {
    let outward = matches!(f.action, Action::Disclose | Action::Serve | Action::Release);
    let mut target = Vec::new();
    if !f.data.is_empty() {
        let classes: Vec<_> = f.data.iter().map(|c| class(*c)).collect();
        target.push(format!("{}类数据", joined(&classes, "、", "或")));
    }
    if !f.assets.is_empty() {
        target.push(patterns(&f.assets, "任何", "或"));
    }
    let act = act(f.action, &target.join("或"));
    let act = act.trim_end();
    let mut text = match &f.by {
        By::All if outward => format!("任何一方（包括所有者）均不得{act}。"),
        By::All => format!("除所有者外，任何一方均不得{act}。"),
        By::Parties(parties) => format!("{}（即使其为所有者）不得{act}。", named(parties)),
    };
    if !f.data.is_empty() {
        text.push_str("数据名称为何，不影响本禁止。");
    }
    if !f.except.is_empty() {
        text.push_str(&format!("例外：{}。", patterns(&f.except, "全部", "和").trim()));
    }
    text.push_str("本禁止优先于任何许可。");
    text
}

fn benefit(b: &Benefit) -> String {
    let fund = match b.fund {
        0 => "不提取补偿基金。".to_owned(),
        percent => format!("每笔收益先提取{percent}% 进入补偿基金。"),
    };
    let rule = match b.rule {
        BenefitRule::Shapley => "其余部分由实际参与的各方按沙普利值（Shapley value）的比例分配。组合的价值为其模型在各留出集上正确分类的行数；空组合的价值为 0，负值按零计，全部为零时平均分配。".to_owned(),
        BenefitRule::Equal => "其余部分由实际参与的各方平均分配。".to_owned(),
        BenefitRule::Fixed => format!("其余部分按下列份额分配：{}。", shares(&b.shares)),
    };
    format!("{fund}{rule}")
}

fn shares(shares: &BTreeMap<PartyId, u32>) -> String {
    joined(&shares.iter().map(|(party, share)| format!("{party} {share}%")).collect::<Vec<_>>(), "、", "、")
}

const fn matter(matter: Matter) -> &'static str {
    match matter {
        Matter::Admit => "接纳新的一方",
        Matter::Run => "启动运行",
        Matter::Release => "发布模型",
        Matter::Amend => "修订本协议",
        Matter::Exclude => "因违约将一方除名",
        Matter::End => "终止本协议",
    }
}

const fn role(role: RoleCode) -> &'static str {
    match role {
        RoleCode::Coordinator => "负责协调本合作",
        RoleCode::Controller => "为其所提供个人数据的控制者（个人信息处理者）",
        RoleCode::JointController => "与其他被如此指明的各方为共同控制者（共同个人信息处理者）",
        RoleCode::Processor => "为受控制者委托的处理者（受托人）",
        RoleCode::Trainer => "提供数据并在自己的节点上训练",
        RoleCode::Evaluator => "负责评估模型",
        RoleCode::Observer => "以观察员身份参与，不提供数据",
    }
}

/// Everything before the clauses.
pub fn opening(terms: &Terms) -> String {
    let mut text = format!("# {}\n\n", escaped(&terms.title));
    if terms.language != Language::Zh {
        text.push_str("*本中文文本为译文，以英文文本为准。*\n\n");
    }
    text.push_str("## 当事人\n\n本协议由下列各方订立：\n\n");
    for (i, party) in terms.parties.iter().enumerate() {
        text.push_str(&format!(
            "{}. **{}**，签署人职务：{}；治理密钥：`{}`\n",
            i + 1,
            party.id,
            escaped(&party.signatory),
            party.key
        ));
    }
    text.push_str(&format!(
        "\n各方在合作项目 **{}** 中协作。本协议列明的其他方可通过签署同一摘要加入。\n\n## 期限、目的与效力顺序\n\n",
        terms.collaboration
    ));
    text.push_str(&format!(
        "本协议期限自 {} 起至 {} 止（协调世界时，首尾两日均计入）。各方密钥均签署同一摘要后本协议生效；要约于 {} 日终失效。\n\n成果用于{}。金额以 {} 计。以{}文本为准。\n\n",
        terms.starts,
        terms.ends,
        terms.offer_expires,
        purposes(&terms.purpose),
        terms.currency,
        match terms.language {
            Language::En => "英文",
            Language::Zh => "中文",
        }
    ));
    if let Some(contract) = terms.contract {
        text.push_str(&format!("本条款为摘要 `{contract}` 所标识的书面合同的附件；两者不一致时，以书面合同为准。\n\n"));
    }
    if let Some(replaces) = terms.replaces {
        text.push_str(&format!("本条款取代摘要 `{replaces}` 所标识的条款；此前已合法完成的行为仍然合法。\n\n"));
    }
    text.push_str("仅在下列条款许可时，方可使用他方资产；禁止优先于任何许可；一方使用自己的资产无须许可。以合作项目名义登记的资产为各方的共同成果。本文本由结构化字段生成，以字段为准。\n");
    if let Some(note) = &terms.note {
        text.push_str(&quoted(note, MARKS));
    }
    text.push_str("\n## 条款\n\n");
    text
}

/// Everything after the clauses.
pub fn closing(terms: &Terms) -> String {
    format!(
        "## 记录\n\n- 日志：`{}`\n- 中心公钥：`{}`\n- 词汇版本：{}\n- 本条款摘要：`{}`\n",
        terms.origin,
        terms.hub_key,
        terms.vocabulary,
        terms.digest()
    )
}
