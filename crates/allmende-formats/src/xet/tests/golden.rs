//! What the reference made: hashes, xorbs and shards of `xet-core-structures` and `xet-data` 1.8.0 (Apache-2.0), written by
//! a program outside of this repository that also compared thousands of random inputs.

use super::{hash, noise};
use crate::xet::chunk_hash;
use crate::xet::chunker::chunks;
use crate::xet::hash::range_hash;
use crate::xet::shard::{Ending, Entry, Error, Shard, ShardReader, dedup_shard, write_shard};
use crate::xet::tree::{file_hash, xorb_hash};
use crate::xet::xorb::{FooterVersion, Unpacker, Validator, Xorb, encode_footer, read_footer};

#[test]
fn hashes_of_the_reference() {
    let mut checked = 0;
    for line in include_str!("golden/hashes.txt").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split(' ').collect();
        let number = |field: usize| fields[field].parse::<u64>().unwrap();
        let content = noise(number(1), number(2) as usize);
        let list = || chunks(&content).map(|c| (chunk_hash(c), c.len() as u64));
        let found = match fields[0] {
            "chunk" => chunk_hash(&content),
            "keyed" => chunk_hash(&content).keyed(&[7; 32]),
            "file" => {
                assert_eq!(list().count() as u64, number(3), "{line}");
                file_hash(list())
            }
            "xorb" => xorb_hash(list()),
            "range" => range_hash(&list().map(|(hash, _)| hash).collect::<Vec<_>>()),
            other => panic!("{other}"),
        };
        assert_eq!(found, hash(fields[fields.len() - 1]), "{line}");
        checked += 1;
    }
    assert_eq!(checked, 31);
}

fn check_xorb(bytes: &[u8], footer: bool, expected: &str, content: &[Vec<u8>]) -> Xorb {
    let mut validator = Validator::new();
    validator.push(bytes).unwrap();
    let xorb = validator.finish(Some(&hash(expected))).unwrap();
    assert_eq!(xorb.footer_bytes > 0, footer);
    if footer {
        let at = xorb.content_bytes as usize;
        assert_eq!(encode_footer(FooterVersion::V1, &xorb.hash, &xorb.chunks), &bytes[at..]);
        assert_eq!(read_footer(&bytes[at..], bytes.len() as u64).as_ref(), Ok(&xorb));
    }
    let mut unpacker = Unpacker::new();
    for (chunk, content) in xorb.chunks.iter().zip(content) {
        assert!(unpacker.unpack(chunk, &bytes[chunk.start as usize..chunk.end() as usize]).unwrap() == content);
    }
    assert_eq!(xorb.chunks.len(), content.len());
    xorb
}

#[test]
fn xorbs_of_the_reference() {
    let floats = noise(21, 12_000);
    let floats = floats.as_chunks().0.iter().flat_map(|b| (u32::from_le_bytes(*b) >> 9 | 0x3f80_0000).to_le_bytes());
    let content = [b"words and words ".repeat(300), noise(20, 2_000), floats.collect(), vec![0; 131_072]];
    let all = "cd8a2734170d0374725224e4d4da3940f994b30d9c10263b32d5f369a7fbf4b3";
    let schemes = |bytes: &[u8], footer| -> Vec<u8> {
        let xorb = check_xorb(bytes, footer, all, &content);
        xorb.chunks.iter().map(|c| bytes[c.start as usize + 4]).collect()
    };
    assert_eq!(schemes(include_bytes!("golden/auto.xorb"), true), [1, 0, 2, 1]);
    assert_eq!(schemes(include_bytes!("golden/lz4.xorb"), false), [1, 0, 0, 1]);
    assert_eq!(schemes(include_bytes!("golden/bg4.xorb"), true), [2, 0, 2, 2]);
    check_xorb(
        include_bytes!("golden/none.xorb"),
        false,
        "a77e6a8d991006d99df408fed58a0314ac40b2801eac0f3fb902dcf3fed712c1",
        &[noise(20, 2_000), b"x".to_vec()],
    );
}

fn read(bytes: &[u8]) -> (Shard, Vec<Entry>) {
    let mut entries = Vec::new();
    let mut reader = ShardReader::new();
    reader
        .push(bytes, |entry| {
            entries.push(entry);
            Ok::<_, Error>(())
        })
        .unwrap();
    (reader.finish().unwrap(), entries)
}

#[test]
fn shards_of_the_reference() {
    let whole = include_bytes!("golden/whole.shard");
    let (shard, entries) = read(whole);
    let (mut files, mut xorbs) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::File(file) => files.push(file),
            Entry::Xorb(xorb) => xorbs.push(xorb),
        }
    }
    assert_eq!((files.len(), xorbs.len()), (4, 3));
    let footer = shard.footer.unwrap();
    let (created_s, expires_s) = (footer.created_s, footer.expires_s);
    let ending = Ending::Footer { chunk_key: None, created_s, expires_s, tables: true };
    assert!(write_shard(&files, &xorbs, &ending).unwrap() == whole, "the same bytes, tables and all");

    let keyed = include_bytes!("golden/keyed.shard");
    let (shard, _) = read(keyed);
    let footer = shard.footer.unwrap();
    let ours = dedup_shard(&xorbs, footer.chunk_key.unwrap(), footer.created_s, footer.expires_s).unwrap();
    // The reference also counts the files that it left out.
    let sum = keyed.len() - 24..keyed.len() - 16;
    assert!(ours[..sum.start] == keyed[..sum.start] && ours[sum.end..] == keyed[sum.end..]);
}
