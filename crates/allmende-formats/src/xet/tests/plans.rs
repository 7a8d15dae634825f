//! Plans: what they fetch and unpack is the part of the file that was asked for.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::noise;
use crate::xet::chunk_hash;
use crate::xet::hash::XetHash;
use crate::xet::reconstruction::{ChunkRange, HttpRange, PlanError, plan};
use crate::xet::shard::Segment;
use crate::xet::xorb::{Chunk, Error, Unpacker, XorbWriter};

struct Store(BTreeMap<XetHash, (Vec<Chunk>, Vec<u8>)>);

impl Store {
    /// Xorbs of chunks of these lengths.
    fn new(xorbs: &[Vec<usize>]) -> (Self, Vec<XetHash>) {
        let mut store = BTreeMap::new();
        let mut hashes = Vec::new();
        for (x, lengths) in xorbs.iter().enumerate() {
            let mut writer = XorbWriter::new();
            for (c, length) in lengths.iter().enumerate() {
                let content = noise((x * 1_000 + c) as u64, *length);
                writer.push(chunk_hash(&content), &content).unwrap();
            }
            let (xorb, bytes) = writer.finish(true).unwrap();
            hashes.push(xorb.hash);
            store.insert(xorb.hash, (xorb.chunks, bytes));
        }
        (Self(store), hashes)
    }

    fn chunks(&self, xorb: &XetHash) -> Option<&[Chunk]> {
        self.0.get(xorb).map(|(chunks, _)| chunks.as_slice())
    }

    fn segment(&self, xorb: XetHash, start: usize, end: usize) -> Segment {
        let unpacked_bytes = self.0[&xorb].0[start..end].iter().map(|c| c.unpacked_bytes).sum();
        Segment { xorb, unpacked_bytes, chunk_start: start as u32, chunk_end: end as u32, range_hash: None }
    }

    fn read(&self, xorb: &XetHash, chunks: ChunkRange) -> Vec<u8> {
        let (all, bytes) = &self.0[xorb];
        let chunks = &all[chunks.start as usize..chunks.end as usize];
        let stored = &bytes[chunks[0].start as usize..chunks[chunks.len() - 1].end() as usize];
        let mut content = Vec::new();
        let sink = |part: &[u8]| {
            content.extend_from_slice(part);
            Ok::<_, Error>(())
        };
        Unpacker::new().unpack_all(chunks, stored, sink).unwrap();
        content
    }
}

#[test]
fn a_part_names_no_chunk_too_many() {
    let (store, hashes) = Store::new(&[vec![100, 200, 300], vec![50, 50]]);
    let [a, b] = hashes[..] else { panic!() };
    let file = [store.segment(a, 0, 3), store.segment(b, 0, 2), store.segment(a, 1, 2), store.segment(a, 0, 1)];
    let whole = plan(&file, |x| store.chunks(x), None).unwrap();
    assert_eq!((whole.offset_into_first_range, whole.start, whole.end, whole.terms.len()), (0, 0, 1_000, 4));
    let fetches = |xorb: XetHash, plan: &crate::xet::reconstruction::Plan| -> Vec<(u32, u32)> {
        let of = plan.fetches.iter().find(|f| f.xorb == xorb);
        of.map(|f| f.ranges.iter().map(|r| (r.chunks.start, r.chunks.end)).collect()).unwrap_or_default()
    };
    assert_eq!((fetches(a, &whole), fetches(b, &whole)), (vec![(0, 3)], vec![(0, 2)]));

    let part = plan(&file, |x| store.chunks(x), Some((100, 300))).unwrap();
    assert_eq!((part.offset_into_first_range, part.terms.len(), part.terms[0].unpacked_bytes), (0, 1, 200));
    assert_eq!((part.terms[0].chunks, fetches(a, &part)), (ChunkRange { start: 1, end: 2 }, vec![(1, 2)]));
    let bytes = HttpRange { start: 108, end: 315 };
    assert_eq!(part.fetches[0].ranges[0].bytes, bytes, "chunk 1 with its header, up to its last byte");

    let part = plan(&file, |x| store.chunks(x), Some((299, 301))).unwrap();
    assert_eq!((part.offset_into_first_range, part.terms[0].chunks), (199, ChunkRange { start: 1, end: 3 }));
    let part = plan(&file, |x| store.chunks(x), Some((649, 10_000))).unwrap();
    assert_eq!((part.offset_into_first_range, part.end, part.terms.len()), (49, 1_000, 3));
    assert_eq!(fetches(a, &part), [(0, 2)], "neighbours are fetched as one");

    let v1 = part.to_v1(|xorb, fetch| format!("{xorb}/{}", fetch.bytes.start));
    assert_eq!(v1.fetch_info[&a][0].url, format!("{a}/0"));
    let v2 = whole.to_v2(1, |xorb, ranges| format!("{xorb}/{}", ranges.len()));
    assert_eq!((v2.xorbs.len(), v2.xorbs[&a].len(), &v2.xorbs[&a][0].url), (2, 1, &format!("{a}/1")));
}

#[test]
fn what_cannot_be_planned() {
    let (store, hashes) = Store::new(&[vec![100, 200]]);
    let good = store.segment(hashes[0], 0, 2);
    let file_bytes = 300;
    let fails = |segment: Segment, range| plan(&[segment], |x| store.chunks(x), range).unwrap_err();
    assert_eq!(fails(good, Some((300, 400))), PlanError::OutOfRange { start: 300, file_bytes });
    assert_eq!(fails(good, Some((5, 5))), PlanError::OutOfRange { start: 5, file_bytes });
    let other = XetHash::BOOKEND;
    assert_eq!(fails(Segment { xorb: other, ..good }, None), PlanError::MissingXorb(other));
    let disagrees = PlanError::Segment(hashes[0]);
    assert_eq!(fails(Segment { chunk_end: 3, ..good }, None), disagrees);
    assert_eq!(fails(Segment { unpacked_bytes: 299, ..good }, None), disagrees);
    assert_eq!(fails(Segment { unpacked_bytes: 301, ..good }, None), disagrees);
    assert_eq!(fails(Segment { unpacked_bytes: 301, ..good }, Some((300, 301))), disagrees);
    assert_eq!(fails(Segment { chunk_start: 2, chunk_end: 1, ..good }, None), disagrees);
    let nothing = plan(&[], |_| None, Some((0, 100))).unwrap();
    assert_eq!((nothing.terms.len(), nothing.fetches.len(), nothing.end), (0, 0, 0));
    assert!(plan(&[], |_| None, None).is_ok());
    assert_eq!(plan(&[], |_| None, Some((1, 2))), Err(PlanError::OutOfRange { start: 1, file_bytes: 0 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_plan_gives_the_part(
        xorbs in vec(vec(1..300_usize, 1..12), 1..4),
        picks in vec((0..9_usize, any::<(u8, u8)>()), 1..10),
        from in 0..3_000_u64,
        length in 1..3_000_u64,
    ) {
        let (store, hashes) = Store::new(&xorbs);
        let segments: Vec<_> = picks.into_iter().map(|(x, (a, b))| {
            let x = x % xorbs.len();
            let start = usize::from(a) % xorbs[x].len();
            store.segment(hashes[x], start, start + 1 + usize::from(b) % (xorbs[x].len() - start))
        }).collect();
        let chunks = |s: &Segment| ChunkRange { start: s.chunk_start, end: s.chunk_end };
        let file: Vec<u8> = segments.iter().flat_map(|s| store.read(&s.xorb, chunks(s))).collect();
        let made = plan(&segments, |x| store.chunks(x), Some((from, from + length)));
        if from >= file.len() as u64 {
            prop_assert_eq!(made, Err(PlanError::OutOfRange { start: from, file_bytes: file.len() as u64 }));
            return Ok(());
        }
        let made = made.unwrap();
        let content: Vec<u8> = made.terms.iter().flat_map(|t| store.read(&t.xorb, t.chunks)).collect();
        let expected = &file[from as usize..file.len().min((from + length) as usize)];
        let skipped = made.offset_into_first_range as usize;
        prop_assert_eq!(&content[skipped..skipped + expected.len()], expected);
        prop_assert_eq!((made.start, made.end - made.start), (from, expected.len() as u64));
        for term in &made.terms {
            let unpacked = store.read(&term.xorb, term.chunks).len();
            prop_assert_eq!(unpacked, term.unpacked_bytes as usize);
            let of = made.fetches.iter().find(|f| f.xorb == term.xorb).unwrap();
            let within = |r: ChunkRange| r.start <= term.chunks.start && term.chunks.end <= r.end;
            prop_assert_eq!(of.ranges.iter().filter(|f| within(f.chunks)).count(), 1);
        }
        for xorb in &made.fetches {
            prop_assert!(xorb.ranges.windows(2).all(|w| w[0].chunks.end < w[1].chunks.start));
            for fetch in &xorb.ranges {
                let all = store.chunks(&xorb.xorb).unwrap();
                let (first, last) = (all[fetch.chunks.start as usize], all[fetch.chunks.end as usize - 1]);
                prop_assert_eq!(fetch.bytes, HttpRange { start: first.start.into(), end: u64::from(last.end()) - 1 });
            }
        }
    }
}
