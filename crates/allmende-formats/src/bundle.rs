//! Bundles: a repository in one file, for places that no network reaches.
//!
//! ```text
//! magic      "allmende bundle 1\n"
//! sections   each: what it is (1 byte), its length (8 bytes), its bytes
//!   1        the signed manifest, once
//!   2        branches and tags: "<40 digits> <name>\n" each, by name, once
//!   3        a git pack, once
//!   4        the large files and what they are made of, once
//!   5        a xorb without a footer, as often as the manifest says
//!   0        the end, of no bytes
//! ```
//!
//! Sections stand in this order and numbers are little-endian. Lengths and digests of the sections stand in the manifest;
//! those here are compared with it and never believed. A file of section 4 is
//!
//! ```text
//! file   Xet hash (32), SHA-256 (32), bytes (8), parts (4)
//! part   where its chunks lie: 0 in a xorb, 1 in a file that the receiver has (1), that one's hash (32),
//!        first chunk (8), chunks (4)
//! ```
//!
//! in ascending order of SHA-256. So each chunk is sent once, and none that the receiver has.

use crate::xet::XetHash;
use crate::xet::xorb::{MAX_CHUNKS, MAX_CONTENT_BYTES};

/// How a bundle begins.
pub const MAGIC: [u8; 18] = *b"allmende bundle 1\n";
/// Bytes before each section.
pub const HEAD_BYTES: usize = 9;
/// Most bytes of a manifest.
pub const MAX_MANIFEST_BYTES: u64 = 8 << 20;
/// Most bytes of branches and tags.
pub const MAX_REFS_BYTES: u64 = 16 << 20;
/// Most bytes of the list of large files.
pub const MAX_FILES_BYTES: u64 = 64 << 20;
/// Most bytes of a pack: whoever takes one has a limit of their own.
pub const MAX_PACK_BYTES: u64 = 1 << 40;
/// Longest name of a branch or tag, in bytes.
pub const MAX_NAME_BYTES: usize = 200;

const FILE_BYTES: usize = 76;
const PART_BYTES: usize = 45;

/// Why bytes are no bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It begins otherwise.
    #[error("this is no bundle of version 1")]
    Magic,
    /// A section that cannot stand there.
    #[error("a section of the kind {found} cannot stand here")]
    Order {
        /// Its kind.
        found: u8,
    },
    /// A section is longer than one of its kind may be.
    #[error("a section of the kind {section} has {bytes} bytes, at most {most} are taken")]
    Length {
        /// Its kind.
        section: u8,
        /// Its length.
        bytes: u64,
        /// The most that it may be.
        most: u64,
    },
    /// The list of branches and tags cannot be read.
    #[error("line {line} of the branches and tags is none, or out of order")]
    Ref {
        /// Counted from 1.
        line: usize,
    },
    /// The list of large files ends within a file.
    #[error("the list of large files is cut off within file {file}")]
    Truncated {
        /// Counted from 0.
        file: usize,
    },
    /// A file is out of order, or there twice, or has no parts.
    #[error("file {file} of the list of large files is out of order, there twice, or made of nothing")]
    File {
        /// Counted from 0.
        file: usize,
    },
    /// A part names chunks that cannot be.
    #[error("a part of file {file} of the list of large files cannot be")]
    Part {
        /// Counted from 0.
        file: usize,
    },
}

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The signed manifest.
    Manifest,
    /// Branches and tags.
    Refs,
    /// A git pack.
    Pack,
    /// Large files.
    Files,
    /// A xorb.
    Xorb,
    /// Nothing: the bundle ends.
    End,
}

impl Section {
    const ALL: [Self; 6] = [Self::Manifest, Self::Refs, Self::Pack, Self::Files, Self::Xorb, Self::End];

    const fn code(self) -> u8 {
        match self {
            Self::Manifest => 1,
            Self::Refs => 2,
            Self::Pack => 3,
            Self::Files => 4,
            Self::Xorb => 5,
            Self::End => 0,
        }
    }

    const fn max_bytes(self) -> u64 {
        match self {
            Self::Manifest => MAX_MANIFEST_BYTES,
            Self::Refs => MAX_REFS_BYTES,
            Self::Pack => MAX_PACK_BYTES,
            Self::Files => MAX_FILES_BYTES,
            Self::Xorb => MAX_CONTENT_BYTES,
            Self::End => 0,
        }
    }

    /// Whether it may follow `before`.
    fn follows(self, before: Option<Self>) -> bool {
        match before {
            None => self == Self::Manifest,
            Some(Self::Manifest) => self == Self::Refs,
            Some(Self::Refs) => self == Self::Pack,
            Some(Self::Pack) => self == Self::Files,
            Some(Self::Files | Self::Xorb) => matches!(self, Self::Xorb | Self::End),
            Some(Self::End) => false,
        }
    }
}

/// What stands before a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the section holds.
    pub section: Section,
    /// Its length.
    pub bytes: u64,
}

impl Head {
    /// As it is written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[0] = self.section.code();
        out[1..].copy_from_slice(&self.bytes.to_le_bytes());
        out
    }
}

/// Reads the heads of a bundle one after the other, in the one order that they have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heads {
    last: Option<Section>,
}

impl Heads {
    /// Takes the next head.
    ///
    /// # Errors
    /// [`Error::Order`] or [`Error::Length`].
    pub fn next(&mut self, bytes: [u8; HEAD_BYTES]) -> Result<Head, Error> {
        let [found, length @ ..] = bytes;
        let section = Section::ALL.into_iter().find(|section| section.code() == found);
        let section = section.filter(|section| section.follows(self.last)).ok_or(Error::Order { found })?;
        let (bytes, most) = (u64::from_le_bytes(length), section.max_bytes());
        if bytes > most {
            return Err(Error::Length { section: found, bytes, most });
        }
        self.last = Some(section);
        Ok(Head { section, bytes })
    }
}

/// A branch or tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRef {
    /// In full, below `refs/heads/` or `refs/tags/`.
    pub name: String,
    /// The 40 digits of the object that it leads to.
    pub oid: String,
}

/// Writes branches and tags, which have to be in order of their names.
#[must_use]
pub fn write_refs(refs: &[BundleRef]) -> Vec<u8> {
    refs.iter().flat_map(|r| format!("{} {}\n", r.oid, r.name).into_bytes()).collect()
}

/// Reads them. That the names are ones that git takes is for whoever uses them to check.
///
/// # Errors
/// [`Error::Ref`].
pub fn read_refs(bytes: &[u8]) -> Result<Vec<BundleRef>, Error> {
    let mut refs: Vec<BundleRef> = Vec::new();
    if bytes.is_empty() {
        return Ok(refs);
    }
    let bad = |line| Error::Ref { line };
    let text = std::str::from_utf8(bytes).map_err(|_| bad(1))?;
    let text = text.strip_suffix('\n').ok_or(bad(1))?;
    for (line, number) in text.split('\n').zip(1..) {
        let (oid, name) = line.split_once(' ').ok_or(bad(number))?;
        let digits = oid.len() == 40 && oid.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let placed =
            ["refs/heads/", "refs/tags/"].iter().any(|place| name.len() > place.len() && name.starts_with(place));
        let fits = name.len() <= MAX_NAME_BYTES && !name.chars().any(|c| c.is_control() || c == ' ');
        let later = refs.last().is_none_or(|last| *last.name < *name);
        if !(digits && placed && fits && later) {
            return Err(bad(number));
        }
        refs.push(BundleRef { name: name.to_owned(), oid: oid.to_owned() });
    }
    Ok(refs)
}

/// Where the chunks of a part lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In this xorb: one of the bundle, or one that the receiver has from an earlier one.
    Xorb(XetHash),
    /// In this large file, which the receiver has.
    File(XetHash),
}

/// Neighbouring chunks, as a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where they lie.
    pub place: Place,
    /// The first of them, counted from 0.
    pub first: u64,
    /// How many.
    pub chunks: u32,
}

/// A large file and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFile {
    /// The hash of the tree over its chunks.
    pub hash: XetHash,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// How many bytes.
    pub bytes: u64,
    /// What it is made of, in order.
    pub parts: Vec<Part>,
}

/// Writes the list of large files, which have to be in order of their SHA-256.
#[must_use]
pub fn write_files(files: &[BundleFile]) -> Vec<u8> {
    let mut out = Vec::with_capacity(files.iter().map(|f| FILE_BYTES + f.parts.len() * PART_BYTES).sum());
    for file in files {
        out.extend_from_slice(file.hash.as_bytes());
        out.extend_from_slice(&file.sha256);
        out.extend_from_slice(&file.bytes.to_le_bytes());
        // A list of 2³² parts is longer than a section may be.
        out.extend_from_slice(&(file.parts.len() as u32).to_le_bytes());
        for part in &file.parts {
            let (kind, hash) = match part.place {
                Place::Xorb(hash) => (0, hash),
                Place::File(hash) => (1, hash),
            };
            out.push(kind);
            out.extend_from_slice(hash.as_bytes());
            out.extend_from_slice(&part.first.to_le_bytes());
            out.extend_from_slice(&part.chunks.to_le_bytes());
        }
    }
    out
}

/// Reads the list of large files. Memory: no more than twice the bytes, whatever they say.
///
/// # Errors
/// [`Error`] names the first file that cannot be.
pub fn read_files(bytes: &[u8]) -> Result<Vec<BundleFile>, Error> {
    let mut files: Vec<BundleFile> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let file = files.len();
        let (head, after) = rest.split_first_chunk::<FILE_BYTES>().ok_or(Error::Truncated { file })?;
        let sha256: [u8; 32] = array(head, 32);
        let (bytes, parts) = (u64::from_le_bytes(array(head, 64)), u32::from_le_bytes(array(head, 72)));
        let later = files.last().is_none_or(|last| last.sha256 < sha256);
        if !later || (parts == 0) != (bytes == 0) {
            return Err(Error::File { file });
        }
        let length = (parts as usize).checked_mul(PART_BYTES).filter(|length| *length <= after.len());
        let (own, after) = after.split_at(length.ok_or(Error::Truncated { file })?);
        let parts = own.as_chunks::<PART_BYTES>().0.iter().map(|row| part(row).ok_or(Error::Part { file }));
        let parts = parts.collect::<Result<_, _>>()?;
        files.push(BundleFile { hash: XetHash::from_bytes(array(head, 0)), sha256, bytes, parts });
        rest = after;
    }
    Ok(files)
}

fn part(row: &[u8; PART_BYTES]) -> Option<Part> {
    let hash = XetHash::from_bytes(array(row, 1));
    let (first, chunks) = (u64::from_le_bytes(array(row, 33)), u32::from_le_bytes(array(row, 41)));
    let end = first.checked_add(chunks.into())?;
    let place = match row[0] {
        0 if end <= MAX_CHUNKS as u64 => Place::Xorb(hash),
        1 => Place::File(hash),
        _ => return None,
    };
    (chunks > 0).then_some(Part { place, first, chunks })
}

/// `N` bytes from `at`, which are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(section: Section, bytes: u64) -> [u8; HEAD_BYTES] {
        Head { section, bytes }.to_bytes()
    }

    #[test]
    fn sections_come_in_one_order() {
        use Section::{End, Files, Manifest, Pack, Refs, Xorb};
        let read = |all: &[Section]| {
            let mut heads = Heads::default();
            all.iter().try_for_each(|section| heads.next(head(*section, 0)).map(drop))
        };
        assert_eq!(read(&[Manifest, Refs, Pack, Files, Xorb, Xorb, End]), Ok(()));
        assert_eq!(read(&[Manifest, Refs, Pack, Files, End]), Ok(()));
        for bad in [
            &[Refs][..],
            &[Manifest, Manifest],
            &[Manifest, Pack],
            &[Manifest, Refs, Pack, Xorb],
            &[Manifest, Refs, Pack, Files, Files],
            &[Manifest, Refs, Pack, Files, Xorb, Files],
            &[Manifest, Refs, Pack, Files, End, Xorb],
            &[End],
        ] {
            assert!(matches!(read(bad), Err(Error::Order { .. })), "{bad:?}");
        }
        assert!(matches!(Heads::default().next([9; HEAD_BYTES]), Err(Error::Order { found: 9 })));
        let long = Heads::default().next(head(Manifest, MAX_MANIFEST_BYTES + 1));
        assert!(matches!(long, Err(Error::Length { section: 1, .. })));
    }

    #[test]
    fn refs_come_back_and_bad_ones_do_not() {
        let oid = "0123456789abcdef0123456789abcdef01234567";
        let one = |name: &str| BundleRef { name: name.to_owned(), oid: oid.to_owned() };
        let refs = [one("refs/heads/main"), one("refs/tags/v1")];
        assert_eq!(read_refs(&write_refs(&refs)), Ok(refs.to_vec()));
        assert_eq!(read_refs(b""), Ok(Vec::new()));
        for bad in [
            format!("{oid} refs/heads/main"),
            format!("{oid} refs/heads/\n"),
            format!("{oid} refs/pr/1\n"),
            format!("{oid} HEAD\n"),
            format!("{oid} refs/heads/a b\n"),
            format!("{oid} refs/heads/a\tb\n"),
            format!("{oid} refs/heads/{}\n", "x".repeat(200)),
            format!("{} refs/heads/a\n", &oid[1..]),
            format!("{} refs/heads/a\n", oid.to_uppercase()),
            format!("{oid} refs/heads/b\n{oid} refs/heads/a\n"),
            format!("{oid} refs/heads/a\n{oid} refs/heads/a\n"),
            "\n".to_owned(),
        ] {
            assert!(matches!(read_refs(bad.as_bytes()), Err(Error::Ref { .. })), "{bad:?}");
        }
    }

    fn files() -> impl Strategy<Value = Vec<BundleFile>> {
        let part =
            (any::<bool>(), any::<[u8; 32]>(), 0..8_000_u64, 1..100_u32).prop_map(|(file, hash, first, chunks)| {
                let hash = XetHash::from_bytes(hash);
                Part { place: if file { Place::File(hash) } else { Place::Xorb(hash) }, first, chunks }
            });
        let file = (any::<[u8; 32]>(), any::<[u8; 32]>(), 1..u64::MAX, prop::collection::vec(part, 1..4)).prop_map(
            |(hash, sha256, bytes, parts)| BundleFile { hash: XetHash::from_bytes(hash), sha256, bytes, parts },
        );
        prop::collection::btree_map(any::<[u8; 32]>(), file, 0..6)
            .prop_map(|all| all.into_iter().map(|(sha256, file)| BundleFile { sha256, ..file }).collect())
    }

    proptest! {
        #[test]
        fn lists_of_files_come_back(files in files()) {
            prop_assert_eq!(read_files(&write_files(&files)), Ok(files));
        }

        #[test]
        fn cut_or_turned_around_they_do_not(files in files(), at in any::<prop::sample::Index>()) {
            prop_assume!(!files.is_empty());
            let bytes = write_files(&files);
            let cut = at.index(bytes.len());
            let read = read_files(&bytes[..cut]);
            // Between two files it is a shorter list: its digest in the manifest tells.
            prop_assert!(read.is_err() || read.is_ok_and(|read| read.len() < files.len()));
            let mut turned = files.clone();
            turned.reverse();
            prop_assert_eq!(read_files(&write_files(&turned)).is_ok(), files.len() == 1);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(files) = read_files(&bytes) {
                prop_assert_eq!(write_files(&files), bytes.clone());
            }
            if let Ok(refs) = read_refs(&bytes) {
                prop_assert_eq!(write_refs(&refs), bytes);
            }
        }
    }

    #[test]
    fn counts_are_not_believed() {
        let file = BundleFile { hash: XetHash::ZERO, sha256: [1; 32], bytes: 5, parts: Vec::new() };
        let mut bytes = write_files(&[file]);
        assert_eq!(read_files(&bytes), Err(Error::File { file: 0 }));
        bytes[72..76].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read_files(&bytes), Err(Error::Truncated { file: 0 }));
    }
}
