//! What a repository may be under, given what it was made from: what its card says, and what the cards of its sources say.
//! The rule is [`judge()`]'s.

use allmende_core::licence::{Claim, Relation, Source, Verdict, judge};
use serde_json::Value;

use super::ContentError;
use crate::account::Principal;
use crate::app::App;
use crate::repo::card::Head;
use crate::repo::ops::see;
use crate::repo::{Kind, RepoError, store};

/// Most sources that are looked up; what is beyond is unknown.
const MAX_SOURCES: usize = 50;

/// What `card` says. `other` is what its `license_name` says, if that is an identifier.
#[must_use]
pub fn claimed(card: &Value) -> Claim {
    let texts: Vec<&str> = match card.get("license") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let named = card.get("license_name").and_then(Value::as_str);
    let read = |text: &str| match named {
        Some(name) if text.trim().eq_ignore_ascii_case("other") => name.to_owned(),
        _ => text.to_owned(),
    };
    Claim(texts.into_iter().map(read).collect())
}

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
    Ok(judge(&claimed(card), &sources))
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
    Ok(head.card.as_ref().map(claimed).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(ids: &[&str]) -> Claim {
        Claim(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn cards_are_read() {
        assert_eq!(claimed(&json!({ "license": "mit" })), claim(&["mit"]));
        assert_eq!(claimed(&json!({ "license": ["mit", "apache-2.0"] })), claim(&["mit", "apache-2.0"]));
        assert_eq!(claimed(&json!({ "license": "other", "license_name": "gemma" })), claim(&["gemma"]));
        assert_eq!(claimed(&json!({ "license": "other" })), claim(&["other"]));
        assert_eq!(claimed(&json!({ "license": 1 })), Claim::default());
        let card =
            json!({ "base_model": ["a/b", "a/b"], "datasets": "c/d", "source_datasets": ["original", "extended|e/f"] });
        let model = named_sources(Kind::Model, &card);
        assert_eq!(
            model,
            [
                (Kind::Model, "a/b".to_owned(), Relation::Changed),
                (Kind::Dataset, "c/d".to_owned(), Relation::LearnedFrom),
            ]
        );
        assert_eq!(named_sources(Kind::Dataset, &card), [(Kind::Dataset, "e/f".to_owned(), Relation::Changed)]);
        assert!(named_sources(Kind::Space, &card).is_empty());
    }
}
