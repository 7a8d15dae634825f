//! The tree that joins the hashes of chunks to the hash of a xorb or a file.
//!
//! Nodes are grouped from left to right: a group ends after a node whose hash is divisible by four, but it has at least
//! three and at most nine nodes, except for the last group of a level, which takes what is left. The text
//! `"{hash} : {bytes}\n"` of its nodes is hashed to the node above. (draft-denis-xet-03, "Merkle Tree".)

use super::hash::{XetHash, node_hash};

/// Nodes of a group, on average: one hash in this many ends a group.
pub const MEAN_BRANCHING: u64 = 4;
/// Most nodes of a group.
pub const MAX_GROUP: usize = 9;
/// Fewest nodes after which a hash may end a group.
const MIN_CUT: usize = 3;
/// Longest text of a node: its hash, `" : "`, a number of 64 bits, and the end of the line.
const MAX_NODE_TEXT_BYTES: usize = 64 + 3 + 20 + 1;

type Node = (XetHash, u64);

/// Joins chunk hashes to the hash of a xorb or a file as they come.
///
/// It keeps one unfinished group for each level, so its memory grows with the logarithm of the chunks: under 10 KiB for
/// 2⁶⁴ bytes.
#[derive(Debug, Clone, Default)]
pub struct TreeHasher {
    levels: Vec<Level>,
    bytes: u64,
}

#[derive(Debug, Clone, Default)]
struct Level {
    group: [Node; MAX_GROUP],
    filled: usize,
    closed_groups: bool,
}

impl TreeHasher {
    /// A tree without chunks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the next chunk: its hash, and its length in bytes before any packing.
    pub fn push(&mut self, chunk: XetHash, bytes: u64) {
        self.bytes = self.bytes.wrapping_add(bytes);
        self.push_at(0, (chunk, bytes));
    }

    /// Bytes of all chunks so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn push_at(&mut self, mut at: usize, mut node: Node) {
        loop {
            if at == self.levels.len() {
                self.levels.push(Level::default());
            }
            let level = &mut self.levels[at];
            level.group[level.filled] = node;
            level.filled += 1;
            let ends = level.filled >= MIN_CUT && node.0.remainder(MEAN_BRANCHING) == 0;
            if !ends && level.filled < MAX_GROUP {
                return;
            }
            node = level.close();
            at += 1;
        }
    }

    /// The node above all chunks; the zero hash when there are none.
    #[must_use]
    pub fn root(mut self) -> XetHash {
        let mut at = 0;
        while at < self.levels.len() {
            let level = &mut self.levels[at];
            // A level of one node is the top, whatever stands below.
            if !level.closed_groups && level.filled == 1 {
                return level.group[0].0;
            }
            if level.filled > 0 {
                let node = level.close();
                self.push_at(at + 1, node);
            }
            at += 1;
        }
        XetHash::ZERO
    }

    /// The hash of a xorb with these chunks.
    #[must_use]
    pub fn xorb_hash(self) -> XetHash {
        self.root()
    }

    /// The hash of a file with these chunks, as clients compute it: the root, hashed once more under a key of zeros.
    #[must_use]
    pub fn file_hash(self) -> XetHash {
        self.file_hash_salted(&[0; 32])
    }

    /// The hash of a file under a salt of the repository's.
    #[must_use]
    pub fn file_hash_salted(self, salt: &[u8; 32]) -> XetHash {
        if self.levels.is_empty() { XetHash::ZERO } else { self.root().keyed(salt) }
    }
}

impl Level {
    fn close(&mut self) -> Node {
        let node = join(&self.group[..self.filled]);
        self.filled = 0;
        self.closed_groups = true;
        node
    }
}

/// The node above a group.
fn join(group: &[Node]) -> Node {
    let mut text = [0_u8; MAX_GROUP * MAX_NODE_TEXT_BYTES];
    let mut length = 0;
    let mut total = 0_u64;
    let mut put = |bytes: &[u8]| {
        text[length..length + bytes.len()].copy_from_slice(bytes);
        length += bytes.len();
    };
    for (hash, bytes) in group {
        for word in hash.words() {
            let hex: [u8; 16] = std::array::from_fn(|i| b"0123456789abcdef"[(word >> (60 - 4 * i)) as usize & 0xf]);
            put(&hex);
        }
        put(b" : ");
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        let mut rest = *bytes;
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        put(&digits[first..]);
        put(b"\n");
        // A sum beyond 64 bits is no file of ours; the reference wraps too.
        total = total.wrapping_add(*bytes);
    }
    (node_hash(&text[..length]), total)
}

/// The hash of a xorb of these chunks, each with its length in bytes.
#[must_use]
pub fn xorb_hash(chunks: impl IntoIterator<Item = (XetHash, u64)>) -> XetHash {
    tree(chunks).xorb_hash()
}

/// The hash of a file of these chunks, each with its length in bytes.
#[must_use]
pub fn file_hash(chunks: impl IntoIterator<Item = (XetHash, u64)>) -> XetHash {
    tree(chunks).file_hash()
}

fn tree(chunks: impl IntoIterator<Item = (XetHash, u64)>) -> TreeHasher {
    let mut tree = TreeHasher::new();
    chunks.into_iter().for_each(|(hash, bytes)| tree.push(hash, bytes));
    tree
}
