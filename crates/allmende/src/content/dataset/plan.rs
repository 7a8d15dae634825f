//! Which files of a repository are which split of which configuration, as `datasets` finds them: by what the card says, and
//! otherwise by their names. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// Most configurations of one dataset.
const MAX_CONFIGS: usize = 200;
/// Most files of one split.
const MAX_FILES: usize = 1_000;
/// The configuration of a dataset that names none.
const DEFAULT: &str = "default";
/// Words that say which split a file belongs to.
const WORDS: &[(&str, &[&str])] = &[
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// The same with tabs.
    Tsv,
    /// An object of JSON on each line, or one list of them.
    Json,
    /// Parquet.
    Parquet,
}

impl Format {
    /// The format of a file of this name.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        Some(match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "json" | "jsonl" | "ndjson" => Self::Json,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    /// What `datasets` calls its reader.
    #[must_use]
    pub const fn builder(self) -> &'static str {
        match self {
            Self::Csv | Self::Tsv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }
}

/// A part of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Its name.
    pub name: String,
    /// Its files, in the order of their rows.
    pub files: Vec<String>,
    /// How all of them are written.
    pub format: Format,
}

/// One of several tables that a dataset may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// Its parts.
    pub splits: Vec<Split>,
}

/// Whether `path` fits `pattern`, in which `*` stands for anything inside a folder, `**` for anything, `?` for one
/// character. The work is bounded by the product of their lengths.
fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<char>, Vec<char>) = (pattern.chars().collect(), path.chars().collect());
    // Which places of the path each prefix of the pattern may end at.
    let mut reach = vec![false; path.len() + 1];
    reach[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let mut next = vec![false; path.len() + 1];
        match pattern[at] {
            '*' => {
                let deep = pattern.get(at + 1) == Some(&'*');
                at += usize::from(deep);
                // With the slash behind it, two stars also stand for no folder at all.
                let nothing = deep && pattern.get(at + 1) == Some(&'/');
                let mut open = false;
                for i in 0..=path.len() {
                    open |= reach[i];
                    next[i] = open;
                    open &= deep || path.get(i) != Some(&'/');
                }
                if nothing {
                    for i in 0..=path.len() {
                        let folder = next[i] && path.get(i) == Some(&'/');
                        if folder {
                            reach[i + 1] = true;
                        }
                    }
                    next = reach;
                    at += 1;
                }
            }
            wanted => {
                for i in 0..path.len() {
                    next[i + 1] = reach[i] && (path[i] == wanted || (wanted == '?' && path[i] != '/'));
                }
            }
        }
        reach = next;
        at += 1;
    }
    reach[path.len()]
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The part that a path's name says, by a word of its own in the name of the file or of a folder.
fn word_of(path: &str) -> Option<&'static str> {
    path.to_ascii_lowercase().rsplit('/').find_map(|part| {
        let words: Vec<&str> = part.split(|c: char| !c.is_ascii_alphabetic()).collect();
        WORDS.iter().find(|(_, names)| words.iter().any(|word| names.contains(word))).map(|(name, _)| *name)
    })
}

/// The part that `data/train-00000-of-00002.parquet` says.
fn shard_of(path: &str) -> Option<&str> {
    let (stem, _) = path.strip_prefix("data/")?.rsplit_once('.')?;
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() >= 5 && text.bytes().all(|c| c.is_ascii_digit());
    (digits(of) && digits(number) && !name.contains('/')).then_some(name)
}

/// Of files that are written differently those of the way that most are written in.
fn split(name: &str, mut files: Vec<String>) -> Option<Split> {
    let mut counts: BTreeMap<Format, usize> = BTreeMap::new();
    for format in files.iter().filter_map(|file| Format::of(file)) {
        *counts.entry(format).or_default() += 1;
    }
    let (&format, _) = counts.iter().max_by_key(|(_, count)| **count)?;
    files.retain(|file| Format::of(file) == Some(format));
    files.sort_unstable();
    files.dedup();
    files.truncate(MAX_FILES);
    Some(Split { name: name.to_owned(), files, format })
}

fn by_names(files: &[&str]) -> Vec<Split> {
    let named = |of: &dyn Fn(&str) -> Option<String>| {
        let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in files {
            if let Some(part) = of(file) {
                parts.entry(part).or_default().push((*file).to_owned());
            }
        }
        parts
    };
    let mut parts = named(&|file| shard_of(file).map(str::to_owned));
    if parts.is_empty() {
        parts = named(&|file| word_of(file).map(str::to_owned));
    }
    if parts.is_empty() {
        parts = named(&|_| Some("train".to_owned()));
    }
    let place = |split: &Split| WORDS.iter().position(|(name, _)| *name == split.name).unwrap_or(WORDS.len());
    let mut splits: Vec<Split> = parts.into_iter().filter_map(|(name, files)| split(&name, files)).collect();
    splits.sort_by_key(|split| (place(split), split.name.clone()));
    splits
}

fn by_card(config: &Value, files: &[&str]) -> Vec<Split> {
    let folder = config.get("data_dir").and_then(Value::as_str).map(|dir| format!("{}/", dir.trim_matches('/')));
    let inside = |file: &&&str| folder.as_ref().is_none_or(|folder| file.starts_with(folder));
    let some: Vec<&str> = files.iter().filter(inside).copied().collect();
    let found = |patterns: &[&str]| -> Vec<String> {
        let one = |pattern: &&str| {
            let pattern = pattern.trim_start_matches("./");
            some.iter().filter(|file| fits(pattern, file)).map(|file| (*file).to_owned()).collect::<Vec<_>>()
        };
        patterns.iter().take(100).flat_map(one).collect()
    };
    match config.get("data_files") {
        None => by_names(&some),
        Some(Value::Array(parts)) if parts.iter().any(Value::is_object) => parts
            .iter()
            .take(100)
            .filter_map(|part| {
                let name = part.get("split").and_then(Value::as_str).unwrap_or("train");
                split(name, found(&texts(part.get("path"))))
            })
            .collect(),
        Some(value) => split("train", found(&texts(Some(value)))).into_iter().collect(),
    }
}

/// The configurations of a dataset with this card and these files. Those without a file that is understood are left out.
#[must_use]
pub fn configs(card: Option<&Value>, paths: &[&str]) -> Vec<Config> {
    let hidden = |path: &str| path.split('/').any(|part| part.starts_with(['.', '_']));
    // What the libraries of models and tokenizers keep is no table.
    let meta = |path: &str| matches!(path, "dataset_infos.json" | "config.json" | "dataset_dict.json" | "state.json");
    let files: Vec<&str> =
        paths.iter().copied().filter(|path| Format::of(path).is_some() && !hidden(path) && !meta(path)).collect();
    let said = card.and_then(|card| card.get("configs")).and_then(Value::as_array);
    let all = match said {
        Some(configs) => configs
            .iter()
            .take(MAX_CONFIGS)
            .map(|config| {
                let name = config.get("config_name").and_then(Value::as_str).unwrap_or(DEFAULT);
                Config { name: name.to_owned(), splits: by_card(config, &files) }
            })
            .collect(),
        None => vec![Config { name: DEFAULT.to_owned(), splits: by_names(&files) }],
    };
    all.into_iter().filter(|config| !config.splits.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn found(card: Option<&Value>, paths: &[&str]) -> Vec<String> {
        let configs = configs(card, paths);
        let one = |c: &Config, s: &Split| format!("{}/{}: {}", c.name, s.name, s.files.join(" "));
        configs.iter().flat_map(|c| c.splits.iter().map(|s| one(c, s)).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn names_say_which_part() {
        assert_eq!(found(None, &["README.md", "a.csv", "b.csv", "c.txt"]), ["default/train: a.csv b.csv"]);
        let parts = found(None, &["test.csv", "train.csv", "x-dev-1.csv", "other.csv", ".hidden/train.csv"]);
        assert_eq!(parts, ["default/train: train.csv", "default/validation: x-dev-1.csv", "default/test: test.csv"]);
        assert_eq!(found(None, &["train/a.jsonl", "test/b.jsonl"]).len(), 2);
        let shards = [
            "data/train-00001-of-00002.parquet",
            "data/train-00000-of-00002.parquet",
            "data/more-00000-of-00001.parquet",
        ];
        assert_eq!(
            found(None, &shards),
            [
                "default/train: data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet",
                "default/more: data/more-00000-of-00001.parquet",
            ]
        );
        // One way of writing for each part.
        assert_eq!(found(None, &["a.csv", "b.csv", "c.jsonl"]), ["default/train: a.csv b.csv"]);
        assert!(found(None, &["README.md", "config.json"]).is_empty());
    }

    #[test]
    fn cards_say_which_part() {
        let card = json!({ "configs": [
            { "config_name": "one", "data_files": [{ "split": "train", "path": "a/*.csv" }, { "split": "test", "path": ["b/x.csv"] }] },
            { "config_name": "two", "data_files": "**/y.csv" },
            { "config_name": "three", "data_dir": "b" },
            { "config_name": "none", "data_files": "nothing" },
        ] });
        let paths = ["a/1.csv", "a/2.csv", "a/deep/y.csv", "b/x.csv", "y.csv"];
        assert_eq!(
            found(Some(&card), &paths),
            [
                "one/train: a/1.csv a/2.csv",
                "one/test: b/x.csv",
                "two/train: a/deep/y.csv y.csv",
                "three/train: b/x.csv",
            ]
        );
    }

    #[test]
    fn patterns() {
        for (pattern, path) in
            [("*", "a"), ("a*c", "abbc"), ("**", "a/b"), ("**/c", "a/b/c"), ("**/c", "c"), ("a?c", "abc"), ("", "")]
        {
            assert!(fits(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [("*", "a/b"), ("a", "b"), ("a?c", "a/c"), ("**/c", "xc"), ("", "a"), ("a*", "b")] {
            assert!(!fits(pattern, path), "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn a_path_fits_itself_and_stars(path in "[a-z./]{0,20}") {
            prop_assert!(fits(&path, &path));
            prop_assert!(fits("**", &path));
            prop_assert_eq!(fits("*", &path), !path.contains('/'));
        }

        #[test]
        fn no_pattern_hangs(pattern in "[a*?/]{0,40}", path in "[a/]{0,40}") {
            let _ = fits(&pattern, &path);
        }
    }
}
