//! Whether a repository may stand under its licence, given what it was made from. Pure; a no is never turned into a yes by
//! knowing less.

use std::collections::BTreeMap;

use super::spdx::is_listed;
use super::table::{Licence, Onward, find};

/// What a card says about the licence: every identifier that it names. Empty when it names none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claim(pub Vec<String>);

impl Claim {
    /// The licences, each of which holds; none when one is unknown, or none is named.
    fn known(&self) -> Option<Vec<&'static Licence>> {
        if self.0.is_empty() { None } else { self.0.iter().map(|id| find(id)).collect() }
    }
}

/// What a source is for what was made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// It was changed: a base model that was tuned, merged or quantized, a dataset that was cleaned or cut.
    Changed,
    /// A model learned from it. Whether a model is a work upon its data, laws leave open.
    LearnedFrom,
}

/// Something that a repository was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What it is for the repository.
    pub relation: Relation,
    /// What its card says; empty if it is not here, or whoever asks may not see it.
    pub claim: Claim,
}

/// The answer, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// Nothing stands against it, as far as the licences' texts go.
    Compatible,
    /// It cannot be told: a person has to look.
    Unknown,
    /// A licence forbids it.
    Incompatible,
}

impl Answer {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Unknown => "unknown",
            Self::Incompatible => "incompatible",
        }
    }
}

/// What has to be done by whoever passes the repository on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obligation {
    /// Name the authors and keep the notice.
    Attribution,
    /// Say what was changed.
    StateChanges,
    /// Pass it on under this licence, or one that it names.
    ShareAlike(&'static str),
    /// Do not use it commercially.
    NonCommercial,
    /// Forbid the uses that this licence forbids.
    UseRestrictions(&'static str),
    /// What a licence says about names.
    Naming(&'static str),
}

impl Obligation {
    /// The word for it, in answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Attribution => "attribution",
            Self::StateChanges => "state-changes",
            Self::ShareAlike(_) => "share-alike",
            Self::NonCommercial => "non-commercial",
            Self::UseRestrictions(_) => "use-restrictions",
            Self::Naming(_) => "naming",
        }
    }

    /// What to do, for people.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Attribution => "name the authors and keep their notice".to_owned(),
            Self::StateChanges => "say what was changed".to_owned(),
            Self::ShareAlike(id) => format!("pass it on under {id}, or a licence that {id} names"),
            Self::NonCommercial => "do not use it commercially".to_owned(),
            Self::UseRestrictions(id) => format!("pass on the restrictions of use of {id}"),
            Self::Naming(text) => (*text).to_owned(),
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// In one word.
    pub answer: Answer,
    /// Why it is not compatible, a sentence for each reason.
    pub reasons: Vec<String>,
    /// What has to be done, and for the sake of which sources.
    pub obligations: BTreeMap<Obligation, Vec<String>>,
}

impl Verdict {
    /// What whoever changes the card should hear: nothing if there is nothing to say.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = match self.answer {
            Answer::Compatible => Vec::new(),
            Answer::Unknown => self.reasons.iter().map(|reason| format!("licence not settled: {reason}")).collect(),
            Answer::Incompatible => self.reasons.iter().map(|reason| format!("licence conflict: {reason}")).collect(),
        };
        all.extend(
            self.obligations
                .iter()
                .map(|(obligation, sources)| format!("owed to {}: {}", sources.join(", "), obligation.text())),
        );
        all
    }

    fn against(&mut self, answer: Answer, reason: String) {
        self.answer = self.answer.max(answer);
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn owe(&mut self, obligation: Obligation, source: &str) {
        let sources = self.obligations.entry(obligation).or_default();
        if !sources.iter().any(|known| known == source) {
            sources.push(source.to_owned());
        }
    }
}

/// Judges a repository whose card says `own` and that was made from `sources`. Where several licences are named, all of
/// them have to agree.
#[must_use]
pub fn judge(own: &Claim, sources: &[Source]) -> Verdict {
    let mut verdict = Verdict { answer: Answer::Compatible, reasons: Vec::new(), obligations: BTreeMap::new() };
    let mine = own.known();
    if mine.is_none() {
        let said = if own.0.is_empty() { "the card names no licence".to_owned() } else { unknown("the card", own) };
        verdict.against(Answer::Unknown, said);
    }
    for source in sources {
        let Some(theirs) = source.claim.known() else {
            let said = match source.claim.0.is_empty() {
                true => format!("the licence of {} is not known here", source.name),
                false => unknown(&source.name, &source.claim),
            };
            verdict.against(Answer::Unknown, said);
            continue;
        };
        for licence in theirs {
            owed(&mut verdict, licence, source);
            match &mine {
                // What forbids everything forbids it under any licence.
                None => against(&mut verdict, licence, None, source),
                Some(mine) => mine.iter().for_each(|own| against(&mut verdict, licence, Some(own), source)),
            }
        }
    }
    verdict
}

fn unknown(whose: &str, claim: &Claim) -> String {
    let unread: Vec<&String> = claim.0.iter().filter(|id| find(id).is_none()).collect();
    let ids: Vec<String> = unread.iter().map(|id| id.chars().take(80).collect()).collect();
    let what = match unread.iter().all(|id| is_listed(id)) {
        true => "a licence of SPDX's list that was not judged here",
        false => "a licence that is not known here",
    };
    format!("{whose} names {what}: {}", ids.join(", "))
}

fn owed(verdict: &mut Verdict, licence: &Licence, source: &Source) {
    let name = source.name.as_str();
    if licence.attribution {
        verdict.owe(Obligation::Attribution, name);
    }
    if licence.changes {
        verdict.owe(Obligation::StateChanges, name);
    }
    if licence.non_commercial {
        verdict.owe(Obligation::NonCommercial, name);
    }
    if let Onward::Under(_) = licence.onward {
        verdict.owe(Obligation::ShareAlike(licence.id), name);
    }
    if licence.restricts {
        verdict.owe(Obligation::UseRestrictions(licence.id), name);
    }
    if let Some(naming) = licence.naming {
        verdict.owe(Obligation::Naming(naming), name);
    }
}

fn against(verdict: &mut Verdict, theirs: &Licence, own: Option<&Licence>, source: &Source) {
    let name = &source.name;
    // Where a model only learned from data, laws differ on whether what follows holds for the model.
    let breach = match source.relation {
        Relation::Changed => Answer::Incompatible,
        Relation::LearnedFrom => Answer::Unknown,
    };
    match (theirs.onward, own) {
        (Onward::Unread, _) => {
            verdict.against(Answer::Unknown, format!("what {} of {name} asks was not judged", theirs.id));
        }
        (Onward::Never, _) => {
            verdict.against(breach, format!("{} of {name} lets nobody pass on what builds upon it", theirs.id));
        }
        (Onward::Under(allowed), Some(own)) if !allowed.contains(&own.id) => {
            let text = format!("{} of {name} has what builds upon it stand under {}", theirs.id, allowed.join(" or "));
            verdict.against(breach, format!("{text}, not {}", own.id));
        }
        (Onward::Restricted, Some(own)) if own.id != theirs.id => {
            // Another licence with restrictions may hold the same ones; that takes reading both.
            let answer = if own.restricts { Answer::Unknown } else { breach };
            let text = format!("{} of {name} has its restrictions of use passed on", theirs.id);
            verdict.against(answer, format!("{text}, and {} does not say them", own.id));
        }
        _ => {}
    }
    if let Some(own) = own.filter(|own| theirs.non_commercial && !own.non_commercial) {
        let text = format!("{} of {name} is not for commercial use, and {} allows it", theirs.id, own.id);
        verdict.against(Answer::Incompatible, text);
    }
    if let Some(own) = own.filter(|own| own.onward == Onward::Unread) {
        verdict.against(Answer::Unknown, format!("what {} asks was not judged", own.id));
    }
}
