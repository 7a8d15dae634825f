//! Reading blobs, and the pointers that stand for large files.

use super::{GitError, GitRepo, Oid};

/// Largest blob that is read as a whole: larger files are no blobs.
pub const MAX_BLOB_BYTES: u64 = 32 << 20;
/// A pointer is at most this long.
pub const MAX_POINTER_BYTES: u64 = 1_024;
/// And at least this long: it names a file of one digit's size.
pub const MIN_POINTER_BYTES: u64 = 100;

/// What stands in git for a large file: its SHA-256 and size, in the form of git-lfs version 1.
///
/// <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Pointer {
    /// Reads a pointer; none if the bytes are something else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > MAX_POINTER_BYTES {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        if lines.next()? != "version https://git-lfs.github.com/spec/v1" {
            return None;
        }
        let (mut sha256, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ')? {
                ("oid", value) => sha256 = value.strip_prefix("sha256:"),
                ("size", value) => size = value.parse().ok(),
                // Extensions stand between; they change nothing about what the pointer leads to.
                _ => {}
            }
        }
        let sha256 =
            sha256.filter(|hex| hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))?;
        Some(Self { sha256: sha256.to_owned(), size: size? })
    }

    /// The bytes that stand in git.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", self.sha256, self.size)
            .into_bytes()
    }
}

impl GitRepo {
    /// The blobs of these ids, each whole, in their order. What is no blob, or too large, is none.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn blobs(&self, oids: &[Oid]) -> Result<Vec<Option<Vec<u8>>>, GitError> {
        if oids.is_empty() {
            return Ok(Vec::new());
        }
        let asked: String = oids.iter().map(|oid| format!("{oid}\n")).collect();
        let answer =
            self.run(["cat-file", "--batch=%(objecttype) %(objectsize)", "--buffer"], asked.as_bytes()).await?;
        let mut rest = answer.as_slice();
        let mut blobs = Vec::with_capacity(oids.len());
        for _ in oids {
            let end = rest.iter().position(|&c| c == b'\n').ok_or(GitError::Answer("an object's line is cut off"))?;
            let line =
                std::str::from_utf8(&rest[..end]).map_err(|_| GitError::Answer("an object's line is no text"))?;
            rest = &rest[end + 1..];
            let Some((kind, size)) = line.split_once(' ').and_then(|(k, s)| Some((k, s.parse::<usize>().ok()?))) else {
                blobs.push(None);
                continue;
            };
            let bytes = rest.get(..size).ok_or(GitError::Answer("an object is cut off"))?;
            blobs.push((kind == "blob" && size as u64 <= MAX_BLOB_BYTES).then(|| bytes.to_vec()));
            rest = rest.get(size + 1..).ok_or(GitError::Answer("an object is cut off"))?;
        }
        Ok(blobs)
    }

    /// The types and sizes of objects, in their order; none for what is not there. A name may be any that git knows.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn kinds<S: std::fmt::Display>(&self, names: &[S]) -> Result<Vec<Option<(String, u64)>>, GitError> {
        let asked: String = names.iter().map(|name| format!("{name}\n")).collect();
        let format = "--batch-check=%(objecttype) %(objectsize)";
        let answer = self.run(["cat-file", "--buffer", format], asked.as_bytes()).await?;
        let answer = String::from_utf8_lossy(&answer);
        let kind =
            |line: &str| line.split_once(' ').and_then(|(kind, size)| Some((kind.to_owned(), size.parse().ok()?)));
        let kinds: Vec<_> = answer.lines().map(kind).collect();
        if kinds.len() == names.len() { Ok(kinds) } else { Err(GitError::Answer("the types of objects")) }
    }

    /// One blob.
    ///
    /// # Errors
    /// [`GitError::NoEntry`].
    pub async fn blob(&self, oid: Oid) -> Result<Vec<u8>, GitError> {
        let blobs = self.blobs(&[oid]).await?;
        blobs.into_iter().next().flatten().ok_or_else(|| GitError::NoEntry(oid.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_and_written() {
        let pointer = Pointer { sha256: "ab".repeat(32), size: 12_345 };
        assert_eq!(Pointer::parse(&pointer.to_bytes()), Some(pointer.clone()));
        let extended = format!(
            "version https://git-lfs.github.com/spec/v1\next-0-foo sha256:{0}\noid sha256:{0}\nsize 5\n",
            "cd".repeat(32)
        );
        assert_eq!(Pointer::parse(extended.as_bytes()).unwrap().size, 5);
        let text = String::from_utf8(pointer.to_bytes()).unwrap();
        for bad in [
            text.replace("v1", "v2"),
            text.replace("size", "sise"),
            text.replace("12345", "-1"),
            text.replace("ab", "AB"),
            text.replace("sha256:", "sha1:"),
            text.replace("version ", ""),
            "x".repeat(2_000),
            String::new(),
        ] {
            assert_eq!(Pointer::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
