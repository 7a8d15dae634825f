//! Reading blobs, and the pointers that stand for large files.

use super::reader::{Ask, Object};
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
        let names: Vec<String> = oids.iter().map(Oid::to_string).collect();
        let found = self.objects(Ask::Content, &names).await?;
        let blob = |object: Object| object.content.filter(|_| object.kind == "blob");
        Ok(found.into_iter().map(|object| object.and_then(blob)).collect())
    }

    /// The types and sizes of objects, in their order; none for what is not there. A name may be any that git knows.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn kinds<S: std::fmt::Display>(&self, names: &[S]) -> Result<Vec<Option<(String, u64)>>, GitError> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let found = self.objects(Ask::Info, &names).await?;
        Ok(found.into_iter().map(|object| object.map(|object| (object.kind, object.size))).collect())
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
