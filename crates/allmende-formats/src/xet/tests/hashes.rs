//! Hashes, trees and cuts: vectors of draft-denis-xet-03, and what must hold for all.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{hash, noise};
use crate::xet::chunker::{Chunker, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, Splitter, chunks};
use crate::xet::gear::GEAR;
use crate::xet::hash::{ChunkHasher, ParseHashError, XetHash, chunk_hash, range_hash};
use crate::xet::tree::{TreeHasher, file_hash, xorb_hash};

const ONE: &str = "c28f58387a60d4aa200c311cda7c7f77f686614864f5869eadebf765d0a14a69";
const TWO: &str = "6e4e3263e073ce2c0e78cc770c361e2778db3b054b98ab65e277fc084fa70f22";

#[test]
fn vectors_of_the_specification() {
    let hello = chunk_hash(b"Hello World!");
    assert_eq!(hello.to_string(), "d8d408e608fb9ca213b9909a65d86d725f2de4d8d540324be8a363e7a6e228cb");
    assert_eq!(hello.as_bytes()[..4], [0xa2, 0x9c, 0xfb, 0x08]);
    let counting = XetHash::from_bytes(std::array::from_fn(|i| i as u8));
    assert_eq!(counting.to_string(), "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918");
    assert_eq!(
        xorb_hash([(hash(ONE), 100), (hash(TWO), 200)]),
        hash("be64c7003ccd3cf4357364750e04c9592b3c36705dee76a71590c011766b6c14")
    );
    assert_eq!(
        range_hash(&[hash(ONE), hash(TWO)]),
        hash("eb06a8ad81d588ac05d1d9a079232d9c1e7d0b07232fa58091caa7bf333a2768")
    );
}

#[test]
fn the_gear_table_is_the_formats() {
    let bytes: Vec<u8> = GEAR.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "f60341922f1af687111d59d36d19c4726158eefb2544163b58ff06de0509ec0c"
    );
}

#[test]
fn a_hash_has_one_spelling() {
    assert_eq!(hash(ONE).to_string(), ONE);
    for wrong in
        [&ONE[1..], &format!("{ONE}0"), &ONE.to_uppercase(), &ONE.replace('c', "g"), &format!("+{}", &ONE[1..])]
    {
        assert_eq!(wrong.parse::<XetHash>(), Err(ParseHashError), "{wrong}");
    }
    assert_eq!(serde_json::to_string(&hash(ONE)).unwrap(), format!("\"{ONE}\""));
    assert_eq!(serde_json::from_str::<XetHash>(&format!("\"{ONE}\"")).unwrap(), hash(ONE));
    assert!(serde_json::from_str::<XetHash>("\"c2\"").is_err());
}

#[test]
fn few_chunks() {
    let (one, two) = (hash(ONE), hash(TWO));
    assert_eq!(xorb_hash([]), XetHash::ZERO);
    assert_eq!(file_hash([]), XetHash::ZERO);
    assert_eq!(xorb_hash([(one, 5)]), one, "one chunk is its own xorb");
    assert_eq!(file_hash([(one, 5)]), one.keyed(&[0; 32]));
    assert_ne!(xorb_hash([(one, 5), (two, 5)]), xorb_hash([(two, 5), (one, 5)]));
    assert_ne!(xorb_hash([(one, 5), (two, 5)]), xorb_hash([(one, 5), (two, 6)]));
}

/// The tree as the specification words it: whole levels, one after the other.
fn levels(mut nodes: Vec<(XetHash, u64)>) -> XetHash {
    while nodes.len() > 1 {
        let mut above = Vec::new();
        let mut rest = nodes.as_slice();
        while !rest.is_empty() {
            let ends = (2..rest.len().min(9)).find(|&i| rest[i].0.remainder(4) == 0).map(|i| i + 1);
            let end = if rest.len() <= 2 { rest.len() } else { ends.unwrap_or(rest.len().min(9)) };
            let text: String = rest[..end].iter().map(|(hash, bytes)| format!("{hash} : {bytes}\n")).collect();
            let total = rest[..end].iter().map(|(_, bytes)| bytes).sum();
            above.push((crate::xet::hash::node_hash(text.as_bytes()), total));
            rest = &rest[end..];
        }
        nodes = above;
    }
    nodes.first().map_or(XetHash::ZERO, |(hash, _)| *hash)
}

#[test]
fn the_tree_is_the_one_of_whole_levels() {
    for count in (0..40).chain([100, 1_000, 8_192]) {
        let nodes: Vec<_> = (0..count).map(|i| (chunk_hash(&u64::to_le_bytes(i)), i * 7919 % 131_072)).collect();
        assert_eq!(xorb_hash(nodes.iter().copied()), levels(nodes), "{count} chunks");
    }
}

#[test]
fn the_tree_stays_small() {
    let mut tree = TreeHasher::new();
    for i in 0..200_000_u64 {
        tree.push(XetHash::from_bytes([i as u8 | 1; 32]), 65_536);
    }
    assert_eq!(tree.bytes(), 200_000 * 65_536);
    assert!(format!("{tree:?}").len() < 20_000);
}

fn lengths(file: &[u8]) -> Vec<usize> {
    chunks(file).map(<[u8]>::len).collect()
}

#[test]
fn cuts_keep_their_bounds() {
    assert_eq!(lengths(&[]), [0; 0]);
    assert_eq!(lengths(&[0; 10]), [10]);
    assert_eq!(lengths(&vec![0; MAX_CHUNK_BYTES * 2 + 1]), [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 1]);
    let found = lengths(&noise(1, 4 << 20));
    let (_, inner) = found.split_last().unwrap();
    assert!(inner.iter().all(|n| (MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(n)), "{found:?}");
    assert!((40..100).contains(&found.len()), "{found:?}");
}

#[test]
fn a_change_moves_few_cuts() {
    let file = noise(2, 2 << 20);
    let changed = [b"inserted", &file[..]].concat();
    let hashes = |file: &[u8]| chunks(file).map(chunk_hash).collect::<Vec<_>>();
    let (before, after) = (hashes(&file), hashes(&changed));
    assert!(after.iter().filter(|h| !before.contains(h)).count() <= 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the bytes arrive, the chunks are the same, and so are their hashes.
    #[test]
    fn cuts_do_not_depend_on_slices(seed: u64, bytes in 0..700_000_usize, pieces in vec(1..200_000_usize, 1..20)) {
        let file = noise(seed, bytes);
        let expected: Vec<_> = chunks(&file).map(|c| (c.len(), chunk_hash(c))).collect();
        let mut splitter = Splitter::new();
        let mut found = Vec::new();
        let mut keep = |chunk: &[u8]| { found.push((chunk.len(), chunk_hash(chunk))); Ok::<_, ()>(()) };
        let mut chunker = Chunker::new();
        let mut hasher = ChunkHasher::new();
        let mut also = Vec::new();
        let mut open = 0;
        let mut rest = &file[..];
        for take in pieces.into_iter().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(take.min(rest.len()));
            splitter.push(piece, &mut keep).unwrap();
            let mut part = piece;
            while let Some(end) = chunker.cut(part) {
                hasher.update(&part[..end]);
                also.push((open + end, hasher.finish()));
                open = 0;
                part = &part[end..];
            }
            hasher.update(part);
            open += part.len();
            prop_assert_eq!(chunker.open_bytes(), open);
            rest = after;
        }
        splitter.finish(&mut keep).unwrap();
        if open > 0 {
            also.push((open, hasher.finish()));
        }
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(&also, &expected);
    }

    #[test]
    fn texts_and_bytes_agree(bytes: [u8; 32], other: [u8; 32]) {
        let (a, b) = (XetHash::from_bytes(bytes), XetHash::from_bytes(other));
        prop_assert_eq!(a.to_string().parse::<XetHash>(), Ok(a));
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        prop_assert_eq!(a.words()[0], a.truncated());
    }

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        if let Ok(hash) = text.parse::<XetHash>() {
            prop_assert_eq!(hash.to_string(), text);
        }
    }
}
