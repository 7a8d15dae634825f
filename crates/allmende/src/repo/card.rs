//! The card: `README.md` with YAML in front, which says what a repository is. An index of it is kept for lists.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kind, RepoName};
use crate::git::{GitError, GitRepo, Oid};

/// Where it stands.
pub const PATH: &str = "README.md";
/// Most bytes of a card that are looked at.
const MAX_BYTES: usize = 1 << 20;
/// Most bytes of YAML in front of it.
const MAX_YAML_BYTES: usize = 256 << 10;

/// What is known of the head of the main branch without asking git: an index, rebuilt from it whenever it moves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// The commit.
    pub sha: String,
    /// The card's YAML.
    pub card: Option<Value>,
    /// What the card says it is, in one list: its tags, licence, languages, library, task, sources.
    pub tags: Vec<String>,
    /// Bytes of all files.
    pub used_bytes: u64,
}

impl Head {
    /// The text of a field of the card.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.card.as_ref()?.get(field)?.as_str()
    }

    /// Whether it is tagged so; `license:mit` and `mit` are different.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own.eq_ignore_ascii_case(tag))
    }
}

/// The YAML in front of a card, without its fences; none when there is none.
#[must_use]
pub fn front_matter(text: &str) -> Option<&str> {
    Some(parts(text)?.0)
}

/// A card without the YAML in front of it: what people read.
#[must_use]
pub fn body(text: &str) -> &str {
    parts(text).map_or(text, |(_, body)| body)
}

/// The YAML in front of a card, and what follows it.
fn parts(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let rest = text.strip_prefix("---")?;
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'))?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((&rest[..at], &rest[at + line.len()..]));
        }
        at += line.len();
    }
    None
}

/// Reads YAML as JSON.
///
/// # Errors
/// What is wrong, and where, for people.
pub fn parse(yaml: &str) -> Result<Value, String> {
    if yaml.len() > MAX_YAML_BYTES {
        return Err(format!("the metadata has more than {MAX_YAML_BYTES} bytes"));
    }
    if yaml.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(yaml).map_err(|e| e.to_string())
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The metadata of a card; none when it has none, or none that can be read.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Value> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let card = std::str::from_utf8(bytes).ok().and_then(front_matter).and_then(|yaml| parse(yaml).ok());
    card.filter(Value::is_object)
}

/// The tags that a card amounts to.
#[must_use]
pub fn tags(card: &Value) -> Vec<String> {
    let mut all: Vec<String> = texts(card.get("tags")).into_iter().map(str::to_owned).collect();
    for (field, prefix) in [
        ("library_name", ""),
        ("pipeline_tag", ""),
        ("language", ""),
        ("license", "license:"),
        ("datasets", "dataset:"),
        ("base_model", "base_model:"),
        ("task_categories", "task_categories:"),
        ("size_categories", "size_categories:"),
    ] {
        all.extend(texts(card.get(field)).into_iter().map(|text| format!("{prefix}{text}")));
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|tag| seen.insert(tag.clone()));
    all
}

/// What is wrong with a card.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// It cannot be taken like this.
    pub errors: Vec<String>,
    /// It should be better.
    pub warnings: Vec<String>,
}

/// The card that a space begins with. Names and kits are quoted: YAML reads JSON's texts as they are.
#[must_use]
pub fn of_space(name: &RepoName, sdk: Option<&str>) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let sdk = sdk.map_or(String::new(), |sdk| format!("sdk: {}\n", quoted(sdk)));
    format!("---\ntitle: {}\n{sdk}---\n", quoted(name.as_str()))
}

/// Looks through a card before it is committed.
#[must_use]
pub fn validate(kind: Kind, text: &str) -> Findings {
    let mut found = Findings::default();
    let Some(yaml) = front_matter(text).filter(|yaml| !yaml.trim().is_empty()) else {
        found.warnings.push("empty or missing yaml metadata in repo card".to_owned());
        return found;
    };
    let card = match parse(yaml) {
        Ok(Value::Object(card)) => card,
        Ok(_) => {
            found.errors.push("the metadata must be a map of fields".to_owned());
            return found;
        }
        Err(error) => {
            found.errors.push(format!("the metadata is no valid YAML: {error}"));
            return found;
        }
    };
    let text_or_list = |value: &Value| match value {
        Value::String(_) => true,
        Value::Array(values) => values.iter().all(Value::is_string),
        _ => false,
    };
    for field in ["license", "language", "tags", "datasets", "base_model", "metrics"] {
        if let Some(value) = card.get(field)
            && !value.is_null()
            && !text_or_list(value)
        {
            found.errors.push(format!("\"{field}\" must be a text or a list of texts"));
        }
    }
    for field in ["library_name", "pipeline_tag", "license_name", "license_link", "pretty_name"] {
        if card.get(field).is_some_and(|value| !value.is_null() && !value.is_string()) {
            found.errors.push(format!("\"{field}\" must be a text"));
        }
    }
    if card.get("model-index").is_some_and(|value| !value.is_array()) {
        found.errors.push("\"model-index\" must be an array".to_owned());
    }
    if kind != Kind::Space && !card.contains_key("license") {
        found.warnings.push("the card names no license: readers cannot know what they may do".to_owned());
    }
    found
}

/// Reads the index of `commit` from git.
///
/// # Errors
/// [`GitError`].
pub async fn head(git: &GitRepo, commit: Oid) -> Result<Head, GitError> {
    let mut entries = git.tree(commit, None, true).await?;
    git.pointers(&mut entries).await?;
    let used_bytes = entries.iter().map(crate::git::tree::Entry::file_size).sum();
    let readme = entries.iter().find(|entry| entry.path == PATH && entry.size <= MAX_BYTES as u64);
    let card = match readme {
        // A card that cannot be read is shown as none: it was pushed past every check.
        Some(entry) => read(&git.blob(entry.oid).await?),
        None => None,
    };
    let tags = card.as_ref().map(tags).unwrap_or_default();
    Ok(Head { sha: commit.to_string(), card, tags, used_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_front() {
        assert_eq!(front_matter("---\na: 1\n---\ntext"), Some("a: 1\n"));
        assert_eq!(front_matter("\u{feff}\n---\r\na: 1\r\n---\r\ntext"), Some("a: 1\r\n"));
        assert_eq!(front_matter("---\n---\n"), Some(""));
        for none in ["", "text", "---\na: 1\n", "----\na: 1\n---\n", "a\n---\nb\n---\n"] {
            assert_eq!((front_matter(none), body(none)), (None, none), "{none:?}");
        }
    }

    #[test]
    fn cards_are_tagged() {
        let card =
            parse("license: mit\nlanguage: [en, de]\ntags: [a, b, a]\ndatasets: north/x\npipeline_tag: fill-mask\n");
        let tags = tags(&card.unwrap());
        assert_eq!(tags, ["a", "b", "fill-mask", "en", "de", "license:mit", "dataset:north/x"]);
    }

    #[test]
    fn cards_are_checked() {
        let of = |text: &str| validate(Kind::Model, text);
        assert_eq!(of("---\nlicense: mit\n---\n"), Findings::default());
        assert_eq!(of("no front").warnings.len(), 1);
        assert_eq!(of("\n---\nmodel-index: foo\n---\n").errors, ["\"model-index\" must be an array"]);
        assert_eq!(of("---\n- a\n---\n").errors.len(), 1);
        assert_eq!(of("---\na: [\n---\n").errors.len(), 1);
        assert_eq!(of("---\nlicense: {a: b}\n---\n").errors.len(), 1);
    }

    #[test]
    fn yaml_that_grows_is_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let parts = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{parts}]\n"));
        }
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
