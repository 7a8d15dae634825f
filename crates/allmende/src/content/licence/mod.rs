//! What a repository may be under, given what it was made from. [`judge()`] is the pure rule; here its sources are found.
//!
//! It is help for people, not counsel: it says what the texts of well-known licences ask, and never yes where it does not
//! know.

mod judge;
mod table;

use serde_json::Value;

pub use judge::{Answer, Claim, Obligation, Relation, Source, Verdict, judge};
pub use table::{Licence, Onward, TABLE, find};

use super::ContentError;
use crate::account::Principal;
use crate::app::App;
use crate::repo::card::Head;
use crate::repo::ops::see;
use crate::repo::{Kind, RepoError, store};

/// Most sources that are looked up; what is beyond is unknown.
const MAX_SOURCES: usize = 50;

/// What a card says that its repository was made from: kind, name, and what it is for it.
#[must_use]
pub fn named_sources(kind: Kind, card: &Value) -> Vec<(Kind, String, Relation)> {
    let fields: &[(&str, Kind, Relation)] = match kind {
        Kind::Model => {
            &[("base_model", Kind::Model, Relation::Changed), ("datasets", Kind::Dataset, Relation::LearnedFrom)]
        }
        Kind::Dataset => &[("source_datasets", Kind::Dataset, Relation::Changed)],
        Kind::Space | Kind::Code | Kind::Kernel | Kind::Bucket => &[],
    };
    let mut found: Vec<(Kind, String, Relation)> = Vec::new();
    for (field, kind, relation) in fields {
        let names: Vec<&str> = match card.get(field) {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        // Words of the Hub's for what is no source.
        let real = |name: &&str| !name.trim().is_empty() && !matches!(*name, "original");
        for name in names.into_iter().filter(real) {
            let name = name.strip_prefix("extended|").unwrap_or(name).trim().to_owned();
            if !found.iter().any(|(of, known, _)| of == kind && *known == name) {
                found.push((*kind, name, *relation));
            }
        }
    }
    found
}

/// Judges what a card says, with the licences of those of its sources that are here and that `principal` may see. Of what
/// they may not see they learn no more than of what is not here.
///
/// # Errors
/// [`ContentError::Db`].
pub async fn of(app: &App, principal: Option<&Principal>, kind: Kind, card: &Value) -> Result<Verdict, ContentError> {
    let mut sources = Vec::new();
    for (i, (kind, name, relation)) in named_sources(kind, card).into_iter().enumerate() {
        let claim = if i < MAX_SOURCES { claim(app, principal, kind, &name).await? } else { Claim::default() };
        sources.push(Source { name, relation, claim });
    }
    Ok(judge(&Claim::of(card), &sources))
}

async fn claim(app: &App, principal: Option<&Principal>, kind: Kind, full: &str) -> Result<Claim, ContentError> {
    let Some((space, name)) = full.split_once('/') else { return Ok(Claim::default()) };
    let seen = match see(app, principal, kind, space, name).await {
        Ok(seen) => seen,
        Err(RepoError::NotFound) => return Ok(Claim::default()),
        Err(error) => return Err(error.into()),
    };
    let head = store::head(&mut *app.db.read().await?, &seen.repo.id).await?;
    let head: Head = serde_json::from_str(&head).unwrap_or_default();
    Ok(head.card.as_ref().map(Claim::of).unwrap_or_default())
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
}

#[cfg(test)]
mod tests;
