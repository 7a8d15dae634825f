//! A collaboration at a glance: who, what for, how they decide, what they decided.

use allmende_core::agreement::vocabulary::Language;
use allmende_core::collaboration::charter::{Deadlock, Mode};
use allmende_core::collaboration::decision::{Standing, Subject};
use allmende_core::id::AssetId;
use allmende_core::state::State;
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::texts;

/// A collaboration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CollaborationView {
    /// Its name on the hub.
    pub id: String,
    /// Origin of its log.
    pub origin: String,
    /// The hub's key.
    pub hub_key: String,
    /// Title of the charter.
    pub title: String,
    /// What the members want to reach together.
    pub goal: String,
    /// How they decide: `peer`, `leader` or `ecosystem`.
    pub mode: String,
    /// The same in words.
    pub mode_in_words: String,
    /// Members now.
    pub members: Vec<MemberView>,
    /// Parties that may join and have not.
    pub invited: Vec<String>,
    /// Steps on the way.
    pub milestones: Vec<MilestoneView>,
    /// Matters put to the members, newest first.
    pub decisions: Vec<DecisionView>,
    /// Entries in the log.
    pub size: u64,
    /// Arrival of the last entry, UTC.
    pub last_arrival: String,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// The party.
    pub party: String,
    /// When it joined, UTC.
    pub joined_at: String,
    /// The governance key that holds now.
    pub governance: Option<String>,
    /// The root key.
    pub root: Option<String>,
    /// The nodes whose keys hold now.
    pub nodes: Vec<NodeView>,
}

/// A node of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// A step on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MilestoneView {
    /// Its name.
    pub name: String,
    /// The day it is due.
    pub due: String,
    /// What is reached then.
    pub text: String,
}

/// A matter put to the members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionView {
    /// Its name.
    pub id: String,
    /// The matter as terms name it: `run`, `release`, `amend`, `admit`, `exclude` or `end`.
    pub matter: String,
    /// What is decided, in words.
    pub subject: String,
    /// Who opened it.
    pub opened_by: String,
    /// When, UTC.
    pub opened_at: String,
    /// `open`, `passed`, `rejected` or `expired`.
    pub status: String,
    /// When it closed, or until when it is open, UTC.
    pub until: Option<String>,
    /// Each voter and its vote.
    pub votes: Vec<VoteView>,
}

/// A voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VoteView {
    /// Who.
    pub party: String,
    /// `yes`, `no` or `abstain`; none while it has not voted.
    pub vote: Option<String>,
}

/// The collaboration of `state`, or nothing before it was founded.
#[must_use]
pub fn collaboration(state: &State, now: Timestamp, language: Language) -> Option<CollaborationView> {
    let charter = state.charter()?;
    let members = state.members().iter().map(|(id, joined)| {
        let party = state.parties().get(id);
        let nodes = party.map(|p| p.nodes.iter().map(|(key, name)| (name, key)).collect::<Vec<_>>());
        MemberView {
            party: id.to_string(),
            joined_at: joined.to_string(),
            governance: party.and_then(|p| p.governance).map(|key| key.to_string()),
            root: party.map(|p| p.root.to_string()),
            nodes: nodes
                .unwrap_or_default()
                .into_iter()
                .map(|(name, key)| NodeView { name: name.to_string(), key: key.to_string() })
                .collect(),
        }
    });
    let milestones = charter.milestones.iter().map(|m| MilestoneView {
        name: m.name.to_string(),
        due: m.due.to_string(),
        text: m.text.clone(),
    });
    Some(CollaborationView {
        id: state.collaboration().map(ToString::to_string).unwrap_or_default(),
        origin: state.origin().to_string(),
        hub_key: state.hub_key().map(|key| key.to_string()).unwrap_or_default(),
        title: charter.title.clone(),
        goal: charter.goal.clone(),
        mode: match charter.mode {
            Mode::Peer => "peer",
            Mode::Leader { .. } => "leader",
            Mode::Ecosystem { .. } => "ecosystem",
        }
        .to_owned(),
        mode_in_words: mode_in_words(state, language),
        members: members.collect(),
        invited: texts(charter.invited.iter().filter(|p| !state.members().contains_key(p))),
        milestones: milestones.collect(),
        decisions: decisions(state, now, language),
        size: state.size(),
        last_arrival: state.last_arrival().to_string(),
    })
}

fn decisions(state: &State, now: Timestamp, language: Language) -> Vec<DecisionView> {
    let mut decisions: Vec<_> = state.decisions().iter().collect();
    decisions.sort_by_key(|(id, d)| (std::cmp::Reverse(d.opened_at), (*id).clone()));
    let view = |(id, d): (&_, &allmende_core::state::Decided)| {
        let (status, until) = match (d.closed, state.standing(id, now)) {
            (Some((outcome, at)), _) => (outcome.code(), Some(at)),
            (None, Some(Standing::Open { until })) => ("open", Some(until)),
            (None, _) => ("open", None),
        };
        DecisionView {
            id: id.to_string(),
            matter: d.subject.matter().code().to_owned(),
            subject: subject_in_words(&d.subject, language),
            opened_by: d.opened_by.to_string(),
            opened_at: d.opened_at.to_string(),
            status: status.to_owned(),
            until: until.map(|at| at.to_string()),
            votes: d
                .voters
                .iter()
                .map(|party| VoteView {
                    party: party.to_string(),
                    vote: d.votes.get(party).map(|vote| vote.code().to_owned()),
                })
                .collect(),
        }
    };
    decisions.into_iter().map(view).collect()
}

fn names(assets: &[AssetId], between: &str) -> String {
    assets.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// What a decision is about, in words.
#[must_use]
pub fn subject_in_words(subject: &Subject, language: Language) -> String {
    match (subject, language) {
        (Subject::Run { run, .. }, Language::En) => format!("Start run {run}"),
        (Subject::Run { run, .. }, Language::Zh) => format!("启动运行 {run}"),
        (Subject::Release { run, model, accepted }, Language::En) => {
            let open = match accepted.as_slice() {
                [] => String::new(),
                open => format!(", accepting that the licences of {} leave it open", names(open, ", ")),
            };
            format!("Publish the model of {run} ({}){open}", model.short())
        }
        (Subject::Release { run, model, accepted }, Language::Zh) => {
            let open = match accepted.as_slice() {
                [] => String::new(),
                open => format!("，并接受 {} 的许可证未能定论", names(open, "、")),
            };
            format!("发布 {run} 的模型（{}）{open}", model.short())
        }
        (Subject::Amend { terms }, Language::En) => format!("Replace the terms by {}", terms.short()),
        (Subject::Amend { terms }, Language::Zh) => format!("以新条款 {} 替换现行条款", terms.short()),
        (Subject::Admit { party }, Language::En) => format!("Admit {party}"),
        (Subject::Admit { party }, Language::Zh) => format!("接纳 {party}"),
        (Subject::Exclude { party }, Language::En) => format!("Exclude {party}"),
        (Subject::Exclude { party }, Language::Zh) => format!("除名 {party}"),
        (Subject::End { terms }, Language::En) => format!("End the agreement {}", terms.short()),
        (Subject::End { terms }, Language::Zh) => format!("终止协议 {}", terms.short()),
    }
}

/// A length of time in its largest even unit.
fn duration(ms: u64, language: Language) -> String {
    let units =
        [(86_400_000, "day", "天"), (3_600_000, "hour", "小时"), (60_000, "minute", "分钟"), (1_000, "second", "秒")];
    let (unit, en, zh) =
        units.into_iter().find(|(unit, ..)| ms.is_multiple_of(*unit)).unwrap_or((1, "millisecond", "毫秒"));
    let number = ms / unit;
    match language {
        Language::En if number == 1 => format!("1 {en}"),
        Language::En => format!("{number} {en}s"),
        Language::Zh => format!("{number} {zh}"),
    }
}

/// How the members decide, as whole sentences; empty before there is a charter.
#[must_use]
pub fn mode_in_words(state: &State, language: Language) -> String {
    let Some(charter) = state.charter() else { return String::new() };
    let zh = language == Language::Zh;
    let mode = match &charter.mode {
        Mode::Peer if zh => "协商一致：无人反对，且赞成票达到法定人数。".to_owned(),
        Mode::Peer => "Consensus: nobody against, and at least the quorum in favour.".to_owned(),
        Mode::Leader { coordinator } if zh => format!("由 {coordinator} 牵头：须其同意，其可否决；其余按投票多数。"),
        Mode::Leader { coordinator } => {
            format!("Led by {coordinator}, who must agree and may veto; beyond that the majority of votes cast.")
        }
        Mode::Ecosystem { classes, threshold_percent } => {
            let class = |c: &allmende_core::collaboration::charter::MemberClass| {
                format!("{} {} % ({})", c.name, c.weight_percent, texts(&c.members).join(", "))
            };
            let classes: Vec<_> = classes.iter().map(class).collect();
            if zh {
                format!("成员按类别加权：{}；赞成权重须超过 {threshold_percent} %。", classes.join("；"))
            } else {
                let list = classes.join("; ");
                format!("Weighted classes of members: {list}. The weight in favour must exceed {threshold_percent} %.")
            }
        }
    };
    let time = duration(charter.vote_ms, language);
    let quorum = charter.quorum;
    let deadlock = match (&charter.deadlock, zh) {
        (Deadlock::Reject, false) => "without a quorum by then, it is rejected.".to_owned(),
        (Deadlock::ExtendOnce, false) => "without a quorum by then, the time runs once more.".to_owned(),
        (Deadlock::Arbiter { party }, false) => format!("without a quorum by then, {party} decides."),
        (Deadlock::Reject, true) => "届时不足法定人数则否决。".to_owned(),
        (Deadlock::ExtendOnce, true) => "届时不足法定人数则延长一次。".to_owned(),
        (Deadlock::Arbiter { party }, true) => format!("届时不足法定人数则由 {party} 裁决。"),
    };
    if zh {
        format!("{mode}法定人数 {quorum} 票，投票期 {time}；{deadlock}")
    } else {
        format!("{mode} Quorum {quorum}, time to vote {time}; {deadlock}")
    }
}
