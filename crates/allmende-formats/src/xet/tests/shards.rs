//! Shards: written, read in any slices, and refused where numbers cannot be.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::xet::chunk_hash;
use crate::xet::hash::{XetHash, range_hash};
use crate::xet::shard::{
    ChunkInfo, Ending, Entry, Error, FOOTER_BYTES, FileInfo, MAX_SHARD_BYTES, Segment, Shard, ShardReader, XorbInfo,
    dedup_shard, write_shard,
};

fn read(bytes: &[u8]) -> Result<(Shard, Vec<FileInfo>, Vec<XorbInfo>), Error> {
    let (mut files, mut xorbs) = (Vec::new(), Vec::new());
    let mut reader = ShardReader::new();
    reader.push(bytes, |entry| {
        match entry {
            Entry::File(file) => files.push(file),
            Entry::Xorb(xorb) => xorbs.push(xorb),
        }
        Ok::<_, Error>(())
    })?;
    Ok((reader.finish()?, files, xorbs))
}

fn h(n: u8) -> XetHash {
    chunk_hash(&[n])
}

fn xorb(n: u8, chunks: u8) -> XorbInfo {
    let chunk =
        |i: u8| ChunkInfo { hash: h(n ^ i), byte_offset: 1_000 * u32::from(i), unpacked_bytes: 1_000, offered: i == 0 };
    let bytes_in_xorb = 1_000 * u32::from(chunks);
    XorbInfo { hash: h(n), chunks: (0..chunks).map(chunk).collect(), bytes_in_xorb, bytes_on_disk: u32::from(n) }
}

fn file(n: u8, segments: u32, sha256: bool) -> FileInfo {
    let segment = |i: u32| Segment {
        xorb: h(i as u8),
        unpacked_bytes: 100 + i,
        chunk_start: i,
        chunk_end: i + 2,
        range_hash: Some(range_hash(&[h(i as u8)])),
    };
    FileInfo {
        hash: h(n),
        segments: (0..segments).map(segment).collect(),
        sha256: sha256.then(|| std::array::from_fn(|i| i as u8)),
    }
}

const FOOTER: Ending = Ending::Footer { chunk_key: None, created_s: 5, expires_s: 9, tables: true };

#[test]
fn what_is_written_is_read() {
    let files = [file(1, 3, true), file(2, 1, false), FileInfo { sha256: None, ..file(3, 0, false) }];
    let xorbs = [xorb(9, 2), xorb(8, 5)];
    let plain = write_shard(&files, &xorbs, &Ending::Sections).unwrap();
    let (shard, found_files, found_xorbs) = read(&plain).unwrap();
    assert_eq!((&found_files[..], &found_xorbs[..]), (&files[..], &xorbs[..]));
    let records = 1 + (1 + 3 + 3 + 1) + (1 + 1 + 1) + 1 + 1 + (1 + 2) + (1 + 5) + 1;
    assert_eq!(shard, Shard { files: 3, xorbs: 2, chunks: 7, section_bytes: 48 * records, footer: None });
    assert_eq!(plain.len() as u64, shard.section_bytes);
    assert_eq!(plain[40..48], [0; 8]);

    let announced = [&plain[..40], &200_u64.to_le_bytes(), &plain[48..]].concat();
    assert!(read(&announced).is_ok(), "hf_xet 1.1.6 to 1.2 announce a footer that they leave out");

    for tables in [false, true] {
        let key = [7; 32];
        let ending = Ending::Footer { chunk_key: Some(key), created_s: 5, expires_s: 9, tables };
        let whole = write_shard(&files, &xorbs, &ending).unwrap();
        let (shard, _, found) = read(&whole).unwrap();
        let footer = shard.footer.unwrap();
        assert_eq!((footer.chunk_key, footer.created_s, footer.expires_s), (Some(key), 5, 9));
        assert_eq!((footer.stored_bytes, footer.stored_bytes_on_disk, footer.materialized_bytes), (7_000, 17, 403));
        assert_eq!(found[0].chunks[1].hash, xorbs[0].chunks[1].hash.keyed(&key));
        assert_eq!(found[0].hash, xorbs[0].hash, "only the hashes of chunks are protected");
        let table_bytes = if tables { 12 * 3 + 12 * 2 + 16 * 7 } else { 0 };
        assert_eq!(whole.len() as u64, shard.section_bytes + table_bytes + FOOTER_BYTES as u64);
    }
    let answer = read(&dedup_shard(&xorbs, [7; 32], 5, 9).unwrap()).unwrap();
    assert_eq!((answer.0.files, answer.0.xorbs, answer.2.len()), (0, 2, 2));
    let nothing = read(&write_shard(&[], &[], &FOOTER).unwrap()).unwrap();
    assert_eq!((nothing.0.files, nothing.0.chunks), (0, 0));
}

#[test]
fn refusals() {
    let good = write_shard(&[file(1, 1, true)], &[xorb(9, 2)], &Ending::Sections).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut wrong = good.clone();
        wrong[at..at + bytes.len()].copy_from_slice(bytes);
        read(&wrong).map(|_| ()).unwrap_err()
    };
    let word = |at: usize, value: u32| with(at, &value.to_le_bytes());
    assert_eq!(with(0, b"h"), Error::Header);
    assert_eq!(word(32, 3), Error::Header);
    assert_eq!(word(40, 199), Error::Header);
    assert_eq!(word(48 + 32, 1), Error::Flags { at: 48, flags: 1 });
    let segment =
        |unpacked_bytes, chunk_start, chunk_end| Error::Segment { at: 96, unpacked_bytes, chunk_start, chunk_end };
    assert_eq!(word(96 + 32, 7), Error::Flags { at: 96, flags: 7 });
    assert_eq!(word(96 + 36, 0), segment(0, 0, 2));
    assert_eq!(word(96 + 36, 1), segment(1, 0, 2), "a chunk has at least one byte");
    assert_eq!(word(96 + 36, 262_145), segment(262_145, 0, 2));
    assert_eq!(word(96 + 40, 2), segment(100, 2, 2));
    assert_eq!(word(96 + 44, 8_193), segment(100, 0, 8_193));
    let at = 48 * 6;
    assert_eq!(word(at + 32, 1), Error::Flags { at: 288, flags: 1 });
    assert_eq!(word(at + 36, 0), Error::Xorb { at: 288, chunks: 0, bytes: 2_000 });
    assert_eq!(word(at + 36, 8_193), Error::Xorb { at: 288, chunks: 8_193, bytes: 2_000 });
    assert_eq!(word(at + 40, 67_108_865), Error::Xorb { at: 288, chunks: 2, bytes: 67_108_865 });
    assert_eq!(word(at + 40, 1_999), Error::Sum { at: 432, expected: 1_999, found: 2_000 });
    assert_eq!(word(at + 48 + 36, 0), Error::Chunk { at: 336, bytes: 0 });
    assert_eq!(word(at + 48 + 36, 131_073), Error::Chunk { at: 336, bytes: 131_073 });
    assert_eq!(word(at + 48 + 40, 1), Error::Flags { at: 336, flags: 1 });
    let not_a_segment = Error::Segment { at: 144, unpacked_bytes: 0, chunk_start: 0, chunk_end: 0 };
    assert_eq!(word(48 + 36, 4_000_000_000), not_a_segment, "no count is believed");
    for end in 0..good.len() {
        assert_eq!(read(&good[..end]).unwrap_err(), Error::Truncated { at: end as u64 });
    }
    for extra in [1, 48, 199, 200, 300] {
        assert_eq!(read(&[&good[..], &vec![0; extra]].concat()).unwrap_err(), Error::Footer);
    }
    let long = vec![0; MAX_SHARD_BYTES as usize + 1];
    assert_eq!(read(&long).unwrap_err(), Error::TooLarge);
    let ends = FileInfo { hash: XetHash::BOOKEND, ..file(1, 1, false) };
    assert!(matches!(write_shard(&[ends], &[], &FOOTER), Err(Error::Write(_))));
    let mut some = file(1, 2, false);
    some.segments[1].range_hash = None;
    assert!(matches!(write_shard(&[some], &[], &FOOTER), Err(Error::Write(_))));
}

#[test]
fn a_footer_has_to_agree() {
    let whole = write_shard(&[file(1, 1, true)], &[xorb(9, 2)], &FOOTER).unwrap();
    let footer_at = whole.len() - FOOTER_BYTES;
    // Key, times and sums are the sender's own.
    let free = |field: usize| (9..=23).contains(&field);
    for field in 0..25 {
        for bit in [0, 7, 63] {
            let mut changed = whole.clone();
            changed[footer_at + field * 8 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&changed).is_ok(), free(field), "bit {bit} of field {field}");
        }
    }
    assert!(read(&whole[..whole.len() - 1]).is_err());
    assert!(read(&[&whole[..], &[0]].concat()).is_err());
}

fn any_file() -> impl Strategy<Value = FileInfo> {
    let segment = (any::<[u8; 32]>(), 1..100_u32, 0..8_000_u32, 1..190_u32, any::<[u8; 32]>());
    (0..9_u8, vec(segment, 0..6), any::<(bool, Option<[u8; 32]>)>()).prop_map(|(n, segments, (ranges, sha256))| {
        let segment = |(xorb, extra, chunk_start, chunks, range): ([u8; 32], u32, u32, u32, [u8; 32])| Segment {
            xorb: XetHash::from_bytes(xorb),
            unpacked_bytes: chunks + extra,
            chunk_start,
            chunk_end: chunk_start + chunks,
            range_hash: ranges.then(|| XetHash::from_bytes(range)),
        };
        FileInfo { hash: h(n), segments: segments.into_iter().map(segment).collect(), sha256 }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn slices_do_not_matter(
        files in vec(any_file(), 0..5),
        xorbs in vec((0..9_u8, 1..9_u8), 0..5),
        pieces in vec(1..200_usize, 1..60),
        footer in any::<Option<(bool, bool)>>(),
    ) {
        let xorbs: Vec<_> = xorbs.into_iter().map(|(n, chunks)| xorb(n, chunks)).collect();
        let ending = footer.map_or(Ending::Sections, |(key, tables)| {
            Ending::Footer { chunk_key: key.then_some([3; 32]), created_s: 1, expires_s: u64::MAX, tables }
        });
        let bytes = write_shard(&files, &xorbs, &ending).unwrap();
        let expected = read(&bytes).unwrap();
        prop_assert_eq!(&expected.1, &files);
        let mut reader = ShardReader::new();
        let mut entries = Vec::new();
        let mut rest = &bytes[..];
        for take in pieces.into_iter().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(take.min(rest.len()));
            reader.push(piece, |entry| { entries.push(entry); Ok::<_, Error>(()) }).unwrap();
            rest = after;
        }
        let (files, xorbs) = (expected.1.into_iter().map(Entry::File), expected.2.into_iter().map(Entry::Xorb));
        prop_assert_eq!(entries, files.chain(xorbs).collect::<Vec<_>>());
        prop_assert_eq!(reader.finish(), Ok(expected.0));
    }

    #[test]
    fn nothing_panics(bytes in vec(any::<u8>(), 0..300), at: Index) {
        let _ = read(&bytes);
        let mut whole = write_shard(&[file(1, 2, true)], &[xorb(9, 2)], &FOOTER).unwrap();
        let at = at.index(whole.len());
        whole.splice(at..(at + bytes.len()).min(whole.len()), bytes);
        let _ = read(&whole);
    }
}
