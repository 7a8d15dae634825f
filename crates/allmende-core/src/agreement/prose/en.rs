//! English wording.

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

/// The marks of English.
pub const MARKS: Marks = Marks {
    note: "Free text of the parties (not enforced by software):",
    record: "*(Stands in the record only; not enforced by software.)*",
    open: " *(",
    close: ")*",
};

/// `a, b and c`.
pub fn all<T: Display>(items: &[T]) -> String {
    joined(items, ", ", " and ")
}

/// `1, 2 or 3`.
pub fn either<T: Display>(items: &[T]) -> String {
    joined(items, ", ", " or ")
}

/// The verb, for one line.
pub const fn action(action: Action) -> &'static str {
    match action {
        Action::See => "see",
        Action::Read => "read",
        Action::Write => "change",
        Action::Train => "train on",
        Action::Evaluate => "evaluate on",
        Action::Measure => "train smaller coalitions on",
        Action::Serve => "serve predictions from",
        Action::Disclose => "disclose",
        Action::Release => "release",
        Action::Derive => "build on",
    }
}

/// What the action means, done to `target`.
fn act(action: Action, target: &str) -> String {
    match action {
        Action::See => format!("learn of the existence, the schema and the counts of {target}"),
        Action::Read => format!("download and read {target}"),
        Action::Write => format!("change {target}"),
        Action::Train => format!("compute model updates from the rows of {target} (training)"),
        Action::Evaluate => format!("compute metrics of a model on the rows of {target} (evaluation)"),
        Action::Measure => {
            format!("train models of smaller coalitions on {target}, solely to measure what each party contributes")
        }
        Action::Serve => format!("answer predictions with {target}"),
        Action::Disclose => format!("let rows of {target} leave the owner's node"),
        Action::Release => format!("publish {target}"),
        Action::Derive => format!("build further models on {target}"),
    }
}

/// Whom a clause speaks of, as the object of a sentence.
pub fn by(by: &By) -> String {
    match by {
        By::All => "every party".into(),
        By::Parties(parties) => all(parties),
    }
}

/// Where.
pub const fn place(place: Place) -> &'static str {
    match place {
        Place::Owner => "on the owner's node",
        Place::Anywhere => "on any machine of a party or on the hub",
    }
}

/// A purpose.
pub const fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Research => "research",
        Purpose::Education => "education",
        Purpose::Care => "health care",
        Purpose::Commercial => "commercial use",
    }
}

/// Several purposes.
pub fn purposes(purposes: &[Purpose]) -> String {
    all(&purposes.iter().map(|p| purpose(*p)).collect::<Vec<_>>())
}

const fn class(class: DataClass) -> &'static str {
    match class {
        DataClass::Record => "record (rows about individuals or cases)",
        DataClass::Reference => "reference (rows that their owner shares openly)",
        DataClass::Aggregate => "aggregate (counts and metrics over rows)",
        DataClass::Model => "model (trained parameters)",
    }
}

/// `each` is "every" where something is permitted and "any" where it is forbidden: "not every" would forbid less.
fn pattern(pattern: &AssetPattern, each: &str) -> String {
    let part = match pattern.part() {
        None => "",
        Some(Part::Train) => "the training part of ",
        Some(Part::HeldOut) => "the held-out part of ",
    };
    match (pattern.owner(), pattern.name()) {
        (Some(owner), Some(name)) => format!("{part}{owner}/{name}"),
        (Some(owner), None) => format!("{part}{each} asset of {owner}"),
        (None, Some(name)) => format!("{part}{each} asset under these terms that is named “{name}”"),
        (None, None) => format!("{part}{each} asset under these terms"),
    }
}

fn patterns(assets: &[AssetPattern]) -> String {
    all(&assets.iter().map(|p| pattern(p, "every")).collect::<Vec<_>>())
}

/// What a prohibition speaks of, for one line.
pub fn targets(data: &[DataClass], assets: &[AssetPattern]) -> String {
    match (data.is_empty(), assets.is_empty()) {
        (false, true) => format!("{} data", all(data)),
        (false, false) => format!("{} data and {}", all(data), all(assets)),
        _ => all(assets),
    }
}

/// The heading of a clause.
pub fn heading(rule: &ClauseKind) -> String {
    match rule {
        ClauseKind::Permit(p) => format!("Permission to {}.", short(p.action)),
        ClauseKind::Forbid(f) => format!("Prohibition to {}.", short(f.action)),
        ClauseKind::Results(_) => "Results.".into(),
        ClauseKind::Benefit(_) => "Benefits.".into(),
        ClauseKind::Decide(_) => "Decisions.".into(),
        ClauseKind::Exit(_) => "Withdrawal.".into(),
        ClauseKind::Role(_) => "Role.".into(),
        ClauseKind::Incorporate(_) => "Incorporated document.".into(),
    }
}

const fn short(action: Action) -> &'static str {
    match action {
        Action::Measure => "measure contributions",
        Action::Derive => "derive",
        other => other.code(),
    }
}

/// The body of a clause.
pub fn clause(rule: &ClauseKind) -> String {
    match rule {
        ClauseKind::Permit(p) => permit(p),
        ClauseKind::Forbid(f) => forbid(f),
        ClauseKind::Results(r) => {
            let public = match r.licence {
                Licence::MembersOnly => {
                    "Models are released to the parties only; the public receives no licence.".into()
                }
                licence => format!("Models are released under the licence {licence} (SPDX) and under no other."),
            };
            format!(
                "Models that result from this collaboration belong to the parties jointly, in these shares: {}. {public}",
                shares(&r.owners)
            )
        }
        ClauseKind::Benefit(b) => benefit(b),
        ClauseKind::Decide(d) => {
            let matters: Vec<_> = d.what.iter().map(|m| matter(*m)).collect();
            format!(
                "The parties decide together, by the rule of the collaboration's charter, on {}; none of these is done without such a decision. Whoever's assets, duties, liability or share an amendment would worsen must sign it, whatever the charter says.",
                all(&matters)
            )
        }
        ClauseKind::Exit(e) => {
            let keeps = match e.keeps {
                Keeps::ReleasedModels => {
                    "Models released before that day stay usable by the others under their licence."
                }
                Keeps::Nothing => {
                    "From that day the others no longer use, in this collaboration, models that learned from its assets."
                }
            };
            let notice = match e.notice_days {
                0 => "with immediate effect".into(),
                1 => "with one day's notice".into(),
                days => format!("with {days} days' notice"),
            };
            format!(
                "A party may withdraw at any time {notice}, given as a signed statement in the log. From the day of its effect the party's assets are no longer used. {keeps} Withdrawal does not undo what was lawfully done before."
            )
        }
        ClauseKind::Role(r) => format!("The party {} {}.", r.party, role(r.role)),
        ClauseKind::Incorporate(i) => {
            format!(
                "The document “{}”, identified by {}, is incorporated into the record of this agreement.",
                escaped(&i.name),
                i.digest
            )
        }
    }
}

fn permit(p: &Permit) -> String {
    let who = match &p.by {
        By::All => "Every party".into(),
        By::Parties(parties) if parties.len() == 1 => format!("The party {}", all(parties)),
        By::Parties(parties) => format!("The parties {}", all(parties)),
    };
    let mut text = format!("{who} may {}", act(p.action, &patterns(&p.assets)));
    match &p.purpose {
        Some(list) => text.push_str(&format!(", for {}", purposes(list))),
        None => text.push_str(", for the purposes of this agreement"),
    }
    text.push_str(match p.place {
        Place::Owner => ", only on the node of the asset's owner, which the rows do not leave",
        Place::Anywhere => ", on any machine of a party or on the hub",
    });
    if let Some(least) = p.min_parties {
        let noun = if least == 1 { "party takes" } else { "parties take" };
        text.push_str(&format!(", provided that at least {least} {noun} part"));
    }
    if let Some(sizes) = &p.coalitions {
        let noun = if sizes[..] == [1] { "party" } else { "parties" };
        text.push_str(&format!(", in coalitions of {} {noun}", either(sizes)));
    }
    if let Some(until) = p.until {
        text.push_str(&format!(", until and including {until}"));
    }
    text.push('.');
    text
}

fn forbid(f: &Forbid) -> String {
    let outward = matches!(f.action, Action::Disclose | Action::Serve | Action::Release);
    let mut target = Vec::new();
    if !f.data.is_empty() {
        let classes: Vec<_> = f.data.iter().map(|c| class(*c)).collect();
        target.push(format!("data of the class {}", either(&classes)));
    }
    if !f.assets.is_empty() {
        target.push(joined(&f.assets.iter().map(|p| pattern(p, "any")).collect::<Vec<_>>(), ", ", " or "));
    }
    let act = act(f.action, &target.join(" or "));
    let mut text = match &f.by {
        By::All if outward => format!("No party, the owner included, may {act}."),
        By::All => format!("No party other than the owner may {act}."),
        By::Parties(parties) if parties.len() == 1 => {
            format!("The party {}, even as owner, may not {act}.", all(parties))
        }
        By::Parties(parties) => format!("The parties {}, even as owners, may not {act}.", all(parties)),
    };
    if !f.data.is_empty() {
        text.push_str(" What the data is called does not matter.");
    }
    if !f.except.is_empty() {
        text.push_str(&format!(" Excepted: {}.", patterns(&f.except)));
    }
    text.push_str(" This prohibition prevails over every permission.");
    text
}

fn benefit(b: &Benefit) -> String {
    let fund = match b.fund {
        0 => "Nothing is set aside for the compensation fund.".to_owned(),
        percent => format!("{percent} per cent of each benefit goes to the compensation fund first."),
    };
    let rule = match b.rule {
        BenefitRule::Shapley => "The rest is shared among the parties that took part in proportion to their Shapley values. The worth of a coalition is the number of rows of the held-out sets that its model classifies correctly; the coalition of nobody is worth 0, a value below zero counts as zero, and if all values are zero the shares are equal.".to_owned(),
        BenefitRule::Equal => "The rest is shared equally among the parties that took part.".to_owned(),
        BenefitRule::Fixed => format!("The rest is shared in these parts: {}.", shares(&b.shares)),
    };
    format!("{fund} {rule}")
}

fn shares(shares: &BTreeMap<PartyId, u32>) -> String {
    all(&shares.iter().map(|(party, share)| format!("{party} {share} per cent")).collect::<Vec<_>>())
}

const fn matter(matter: Matter) -> &'static str {
    match matter {
        Matter::Admit => "admitting a party",
        Matter::Run => "starting a run",
        Matter::Release => "releasing a model",
        Matter::Amend => "amending these terms",
        Matter::Exclude => "excluding a party after non-compliance",
        Matter::End => "ending this agreement",
    }
}

const fn role(role: RoleCode) -> &'static str {
    match role {
        RoleCode::Coordinator => "coordinates the collaboration",
        RoleCode::Controller => "is controller of the personal data that it brings",
        RoleCode::JointController => "is joint controller, together with the other parties so named",
        RoleCode::Processor => "is processor on behalf of the controllers",
        RoleCode::Trainer => "provides data and trains on its own node",
        RoleCode::Evaluator => "evaluates models",
        RoleCode::Observer => "takes part as an observer and provides no data",
    }
}

/// Everything before the clauses.
pub fn opening(terms: &Terms) -> String {
    let mut text = format!("# {}\n\n", escaped(&terms.title));
    if terms.language != Language::En {
        text.push_str("*This English text is a translation; the Chinese text prevails.*\n\n");
    }
    text.push_str("## Parties\n\nThis agreement is made between\n\n");
    for (i, party) in terms.parties.iter().enumerate() {
        text.push_str(&format!(
            "{}. **{}**, signing through its {}, with the governance key `{}`\n",
            i + 1,
            party.id,
            escaped(&party.signatory),
            party.key
        ));
    }
    text.push_str(&format!(
        "\nwho work together in the collaboration **{}**. A further party may accede, if the terms name it, by signing the same digest.\n\n## Term, purpose and precedence\n\n",
        terms.collaboration
    ));
    text.push_str(&format!(
        "The agreement runs from {} to {} (UTC, both days included). It is in force once every party's key has signed the same digest; the offer expires at the end of {}.\n\nResults are for {}. Amounts are in {}. The {} text prevails.\n\n",
        terms.starts,
        terms.ends,
        terms.offer_expires,
        purposes(&terms.purpose),
        terms.currency,
        match terms.language {
            Language::En => "English",
            Language::Zh => "Chinese",
        }
    ));
    if let Some(contract) = terms.contract {
        text.push_str(&format!("These terms are an annex to the written contract identified by `{contract}`. Where they differ, the written contract prevails.\n\n"));
    }
    if let Some(replaces) = terms.replaces {
        text.push_str(&format!(
            "These terms replace those identified by `{replaces}`. What was lawfully done before stays lawful.\n\n"
        ));
    }
    text.push_str("A use of another party's asset is permitted only where a clause below permits it; a prohibition prevails over every permission; a party's use of its own assets needs no permission. Assets under the collaboration's own name are the parties' joint results. This text is generated from typed fields, which prevail over it.\n");
    if let Some(note) = &terms.note {
        text.push_str(&quoted(note, MARKS));
    }
    text.push_str("\n## Clauses\n\n");
    text
}

/// Everything after the clauses.
pub fn closing(terms: &Terms) -> String {
    format!(
        "## Record\n\n- log: `{}`\n- key of the hub: `{}`\n- vocabulary: {}\n- digest of these terms: `{}`\n",
        terms.origin,
        terms.hub_key,
        terms.vocabulary,
        terms.digest()
    )
}
