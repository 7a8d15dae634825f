//! Where a file may stand in a repository.

use std::fmt;
use std::str::FromStr;

/// A file's or folder's place in a repository: relative, with `/` between the parts, in UTF-8.
///
/// What could mean something else on any member's machine is refused: `.` and `..`, whatever git, HFS+ or NTFS takes for
/// `.git`, control characters, backslashes, and parts that end with a space or a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoPath(String);

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} {rule}")]
pub struct InvalidPath {
    /// The path, cut to 200 characters.
    pub path: String,
    /// What it breaks.
    pub rule: &'static str,
}

impl RepoPath {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoPath {
    type Err = InvalidPath;
    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let refuse = |rule| Err(InvalidPath { path: text.chars().take(200).collect(), rule });
        if text.is_empty() || text.len() > 4_096 {
            return refuse("has no 1 to 4096 bytes");
        }
        if text.starts_with('/') {
            return refuse("begins with '/'");
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return refuse("holds a control character or a backslash");
        }
        for part in text.split('/') {
            if part.is_empty() {
                return refuse("has an empty part");
            }
            if part == "." || part == ".." {
                return refuse("leaves the repository");
            }
            if part.len() > 255 {
                return refuse("has a part of more than 255 bytes");
            }
            if is_dot_git(part) {
                return refuse("means git's own folder on some systems");
            }
            if part.ends_with(' ') || part.ends_with('.') {
                return refuse("has a part that ends with a space or a dot");
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether some file system takes `part` for `.git`: in any case, with characters that HFS+ ignores, with what NTFS cuts
/// off, or by its short name.
fn is_dot_git(part: &str) -> bool {
    let ignored =
        |c: char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let seen: String = part.chars().filter(|&c| !ignored(c)).collect::<String>().to_lowercase();
    let stem = seen.split(':').next().unwrap_or(&seen).trim_end_matches([' ', '.']);
    stem == ".git" || stem == "git~1"
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_in_one() {
        for good in ["a", "a/b.txt", "..a", "a..b", ".gitattributes", ".github/x", "データ.csv", "a b/c d", "git~2"]
        {
            assert!(good.parse::<RepoPath>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a//b",
            "a/",
            ".",
            "..",
            "a/../b",
            "./a",
            ".git",
            ".GIT/config",
            "a/.git/hooks/x",
            "a\\b",
            "a\0b",
            "a\nb",
            ".g\u{200c}it/x",
            ".git /x",
            ".git./x",
            "git~1",
            "GIT~1/x",
            ".git::$INDEX_ALLOCATION/x",
            "a./b",
            "a /b",
        ] {
            assert!(bad.parse::<RepoPath>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(256).parse::<RepoPath>().is_err());
        assert!(vec!["x".repeat(255); 17].join("/").parse::<RepoPath>().is_err());
    }
}
