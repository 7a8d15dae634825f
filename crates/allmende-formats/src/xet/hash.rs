//! Hashes of Xet: keyed BLAKE3, in a spelling of its own.
//!
//! Chunks, inner nodes, ranges and protected chunk hashes are hashed under different keys, so none can pass for another.
//! The keys and the spelling are those of draft-denis-xet-03 and of `xet-core`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// Characters of a hash in text.
pub const HASH_CHARS: usize = 64;

/// The key under which the content of a chunk is hashed.
const DATA_KEY: [u8; 32] = [
    0x66, 0x97, 0xf5, 0x77, 0x5b, 0x95, 0x50, 0xde, 0x31, 0x35, 0xcb, 0xac, 0xa5, 0x97, 0x18, 0x1c, 0x9d, 0xe4, 0x21,
    0x10, 0x9b, 0xeb, 0x2b, 0x58, 0xb4, 0xd0, 0xb0, 0x4b, 0x93, 0xad, 0xf2, 0x29,
];
/// The key under which a group of nodes is hashed.
const NODE_KEY: [u8; 32] = [
    0x01, 0x7e, 0xc5, 0xc7, 0xa5, 0x47, 0x29, 0x96, 0xfd, 0x94, 0x66, 0x66, 0xb4, 0x8a, 0x02, 0xe6, 0x5d, 0xdd, 0x53,
    0x6f, 0x37, 0xc7, 0x6d, 0xd2, 0xf8, 0x63, 0x52, 0xe6, 0x4a, 0x53, 0x71, 0x3f,
];
/// The key under which the chunk hashes of a range are hashed.
const RANGE_KEY: [u8; 32] = [
    0x7f, 0x18, 0x57, 0xd6, 0xce, 0x56, 0xed, 0x66, 0x12, 0x7f, 0xf9, 0x13, 0xe7, 0xa5, 0xc3, 0xf3, 0xa4, 0xcd, 0x26,
    0xd5, 0xb5, 0xdb, 0x49, 0xe6, 0x41, 0x24, 0x98, 0x7f, 0x28, 0xfb, 0x94, 0xc3,
];

/// One in this many chunks may be asked for by its hash across files: see [`XetHash::is_dedup_eligible`].
pub const DEDUP_MODULUS: u64 = 1024;

/// The hash of a chunk, a xorb, a file, a range or a shard.
///
/// Its text is not the plain hexadecimal of its bytes: it is read as four little-endian numbers of 64 bits, and each is
/// printed as 16 digits, so every group of eight bytes appears reversed. Hashes are ordered as their texts are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct XetHash([u8; HASH_BYTES]);

/// A text is not the one spelling of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a Xet hash is {HASH_CHARS} lower-case hexadecimal digits")]
pub struct ParseHashError;

impl XetHash {
    /// The hash that stands for no bytes at all: that of an empty file, and of no key.
    pub const ZERO: Self = Self([0; HASH_BYTES]);
    /// The value that ends a section of a shard; no content has it.
    pub const BOOKEND: Self = Self([0xff; HASH_BYTES]);

    /// The hash of these 32 bytes, in the order in which files hold them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, in the order in which files hold them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// The four numbers that the text prints and that decide the order.
    #[must_use]
    pub fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        std::array::from_fn(|i| u64::from_le_bytes(words[i]))
    }

    /// The first number: what the look-up tables of shards are sorted by.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        self.words()[0]
    }

    /// The remainder that decides where groups of nodes end and which chunks are offered across files.
    #[must_use]
    pub fn remainder(&self, modulus: u64) -> u64 {
        self.words()[3] % modulus
    }

    /// Whether clients ask for this chunk across files. They also ask for the first chunk of every file.
    #[must_use]
    pub fn is_dedup_eligible(&self) -> bool {
        self.remainder(DEDUP_MODULUS) == 0
    }

    /// This hash, protected by a key: the owner of the same chunk can recognize it, others learn nothing from it.
    #[must_use]
    pub fn keyed(&self, key: &[u8; 32]) -> Self {
        Self(*blake3::keyed_hash(key, &self.0).as_bytes())
    }
}

/// The hash of a chunk's content.
#[must_use]
pub fn chunk_hash(content: &[u8]) -> XetHash {
    XetHash(*blake3::keyed_hash(&DATA_KEY, content).as_bytes())
}

/// The hash of a group of nodes, from their text. [`tree`](super::tree) writes it.
pub(super) fn node_hash(text: &[u8]) -> XetHash {
    XetHash(*blake3::keyed_hash(&NODE_KEY, text).as_bytes())
}

/// The hash that proves knowledge of a range of chunks: that of their hashes, one after the other.
///
/// A shard carries one for each segment of a file, so that only who has the chunks can claim them.
#[must_use]
pub fn range_hash<'a>(chunks: impl IntoIterator<Item = &'a XetHash>) -> XetHash {
    let mut hasher = blake3::Hasher::new_keyed(&RANGE_KEY);
    for chunk in chunks {
        hasher.update(&chunk.0);
    }
    XetHash(*hasher.finalize().as_bytes())
}

/// Hashes the content of one chunk that arrives in pieces. Its memory is constant.
#[derive(Debug, Clone)]
pub struct ChunkHasher(blake3::Hasher);

impl Default for ChunkHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkHasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(blake3::Hasher::new_keyed(&DATA_KEY))
    }

    /// Takes the next bytes of the chunk.
    pub fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    /// The hash of the chunk; the hasher is ready for the next one.
    pub fn finish(&mut self) -> XetHash {
        let hash = XetHash(*self.0.finalize().as_bytes());
        self.0.reset();
        hash
    }
}

impl Ord for XetHash {
    fn cmp(&self, other: &Self) -> Ordering {
        self.words().cmp(&other.words())
    }
}

impl PartialOrd for XetHash {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words().iter().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

impl fmt::Debug for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for XetHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: &[u8; HASH_CHARS] = text.as_bytes().try_into().map_err(|_| ParseHashError)?;
        let mut bytes = [0; HASH_BYTES];
        for (group, digits) in bytes.chunks_exact_mut(8).zip(digits.chunks_exact(16)) {
            let word = digits.iter().try_fold(0_u64, |word, digit| Ok(word << 4 | u64::from(value_of(*digit)?)))?;
            group.copy_from_slice(&word.to_le_bytes());
        }
        Ok(Self(bytes))
    }
}

fn value_of(digit: u8) -> Result<u8, ParseHashError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ParseHashError),
    }
}

impl Serialize for XetHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for XetHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
