//! Listing a bucket. A prefix is one of letters, not of folders: `logs` also finds `logs.json`. Folders are what the
//! paths make of them: everything up to the next `/` after the prefix.

use allmende_core::time::Timestamp;
use sqlx::AnyConnection;

use crate::db::DbError;
use crate::repo::Repo;
use crate::repo::bucket::{self, File, Span};

/// Comes after `/` among bytes: the first that no path inside a folder has there.
const AFTER_SLASH: u8 = b'/' + 1;
/// Comes before whatever a path may go on with: paths hold no control characters.
const BEFORE_ALL: u8 = 1;

/// Rows that are read at once where folders are told: most of them may lie in a folder that is told already.
const ROWS: usize = 64;

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A file.
    File(File),
    /// Everything below a folder.
    Folder {
        /// Its path, without a slash at its end.
        path: String,
        /// When the latest file below it was put there.
        uploaded_at: Option<Timestamp>,
    },
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its lines, by path.
    pub lines: Vec<Line>,
    /// From where the next one goes on.
    pub next: Option<String>,
}

/// What to list.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What paths begin with; all if it is empty.
    pub prefix: &'a str,
    /// Whether what lies in folders is listed as well, instead of the folders.
    pub recursive: bool,
    /// From where, as the page before said.
    pub from: &'a str,
    /// Most lines.
    pub limit: usize,
}

/// One past everything that begins with `prefix`.
fn past(prefix: &str) -> Option<Vec<u8>> {
    let mut bytes = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is the last one.
    let last = bytes.last_mut()?;
    *last += 1;
    Some(bytes)
}

/// The folder below `prefix` that `path` lies in; none if it lies in none.
fn folder<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    // What is asked for without its slash is opened all the same.
    let rest = if prefix.is_empty() { rest } else { rest.strip_prefix('/').unwrap_or(rest) };
    let length = rest.find('/')?;
    Some(&path[..path.len() - rest.len() + length])
}

/// A page of the files and folders of a bucket.
///
/// # Errors
/// [`DbError`].
pub async fn page(connection: &mut AnyConnection, repo: &Repo, wanted: Wanted<'_>) -> Result<Page, DbError> {
    let until = past(wanted.prefix);
    let mut from = wanted.from.max(wanted.prefix).as_bytes().to_vec();
    let mut lines = Vec::new();
    while lines.len() < wanted.limit {
        let left = wanted.limit - lines.len();
        let asked = if wanted.recursive { left } else { left.min(ROWS) };
        let span = Span { from: from.clone(), until: until.clone() };
        let files = bucket::page(connection, repo, &span, asked).await?;
        let is_last = files.len() < asked;
        for file in files {
            if file.path.as_bytes() < from.as_slice() {
                // Below a folder that was listed.
                continue;
            }
            let inside = if wanted.recursive { None } else { folder(&file.path, wanted.prefix) };
            match inside.map(str::to_owned) {
                None => {
                    from = [file.path.as_bytes(), &[BEFORE_ALL]].concat();
                    lines.push(Line::File(file));
                }
                Some(path) => {
                    from = [path.as_bytes(), &[AFTER_SLASH]].concat();
                    let below = Span { from: format!("{path}/").into_bytes(), until: Some(from.clone()) };
                    let uploaded_at = bucket::latest(connection, repo, &below).await?;
                    lines.push(Line::Folder { path, uploaded_at });
                }
            }
        }
        if is_last {
            return Ok(Page { lines, next: None });
        }
    }
    // The bytes of a path and an ASCII character.
    Ok(Page { lines, next: String::from_utf8(from).ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_what_paths_make_of_them() {
        for (path, prefix, expected) in [
            ("a.txt", "", None),
            ("a/b.txt", "", Some("a")),
            ("a/b/c", "", Some("a")),
            ("a/b/c", "a", Some("a/b")),
            ("a/b/c", "a/", Some("a/b")),
            ("a/b", "a", None),
            ("a/b", "a/b", None),
            ("logs.json", "logs", None),
            ("logs_old/a", "logs", Some("logs_old")),
            ("logs/a", "log", Some("logs")),
            ("é/ü/x", "é", Some("é/ü")),
        ] {
            assert_eq!(folder(path, prefix), expected, "{path} {prefix}");
        }
        assert_eq!((past(""), past("a/")), (None, Some(b"a0".to_vec())));
    }
}
