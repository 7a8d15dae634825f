//! Frames and schemes: what is packed unpacks, and what a client would refuse is refused.

use lz4_flex::block::{compress, compress_with_dict};
use proptest::collection::vec;
use proptest::prelude::*;

use super::noise;
use crate::xet::lz4::{self, BadContent, xxh32};
use crate::xet::scheme::{self, Scheme};

#[test]
fn checksums() {
    let check = |text: &str, expected: u32| assert_eq!(xxh32(text.as_bytes()), expected, "{text}");
    check("", 0x02cc_5d05);
    check("a", 0x550d_7456);
    check("abc", 0x32d1_53ff);
    check("Nobody inspects the spammish repetition", 0xe229_3b2f);
}

/// A frame of these flags and blocks; each block is packed or not.
fn frame(flags: u8, sizes: u8, content: &[u8], blocks: &[(bool, Vec<u8>)]) -> Vec<u8> {
    let mut descriptor = vec![0b0100_0000 | flags, sizes << 4];
    if flags & 8 != 0 {
        descriptor.extend_from_slice(&(content.len() as u64).to_le_bytes());
    }
    let mut out = 0x184d_2204_u32.to_le_bytes().to_vec();
    out.extend_from_slice(&descriptor);
    out.push((xxh32(&descriptor) >> 8) as u8);
    for (packed, block) in blocks {
        let plain = if *packed { 0 } else { 1 << 31 };
        out.extend_from_slice(&(block.len() as u32 | plain).to_le_bytes());
        out.extend_from_slice(block);
        if flags & 16 != 0 {
            out.extend_from_slice(&xxh32(block).to_le_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    if flags & 4 != 0 {
        out.extend_from_slice(&xxh32(content).to_le_bytes());
    }
    out
}

fn unpack(frame: &[u8], bytes: usize) -> Result<Vec<u8>, BadContent> {
    let mut out = vec![0; bytes];
    lz4::unpack(frame, &mut out).map(|()| out)
}

#[test]
fn every_kind_of_frame() {
    let content = [&b"one two three ".repeat(4_000)[..], &noise(1, 5_000)].concat();
    let (first, rest) = content.split_at(40_000);
    let independent = [(true, compress(first)), (true, compress(rest))];
    let linked = [(true, compress(first)), (true, compress_with_dict(rest, first))];
    let plain = [(false, first.to_vec()), (true, compress(rest))];
    for extras in [0, 4, 8, 16, 28] {
        for sizes in 4..8 {
            for (independence, blocks) in [(32, &independent), (0, &linked), (32, &plain), (0, &plain)] {
                let whole = frame(independence | extras, sizes, &content, blocks);
                assert_eq!(unpack(&whole, content.len()).as_deref(), Ok(&content[..]));
                assert_eq!(unpack(&whole, content.len() - 1), Err(BadContent));
                assert_eq!(unpack(&whole, content.len() + 1), Err(BadContent));
                assert_eq!(unpack(&[&whole[..], &[0]].concat(), content.len()), Err(BadContent), "nothing may follow");
                for end in [0, 3, 4, 6, 7, 10, 30_000, whole.len() - 1] {
                    assert_eq!(unpack(&whole[..end.min(whole.len() - 1)], content.len()), Err(BadContent));
                }
            }
        }
    }
    let good = frame(32, 4, &content, &independent);
    assert!(unpack(&frame(0, 4, &content, &independent), content.len()).is_ok(), "no block has to look back");
    let refused = |at: usize, value: u8| {
        let mut wrong = good.clone();
        wrong[at] = value;
        let checksum = (xxh32(&wrong[4..6]) >> 8) as u8;
        wrong[6] = checksum;
        assert_eq!(unpack(&wrong, content.len()), Err(BadContent), "{at} {value}");
    };
    refused(0, 0x05);
    refused(4, 0b1010_0000);
    refused(4, 0b0110_0001);
    refused(4, 0b0110_0010);
    refused(5, 3 << 4);
    refused(5, (4 << 4) | 1);
    refused(5, 0b1100_0000);
    let mut checksum = good;
    checksum[6] ^= 1;
    assert_eq!(unpack(&checksum, content.len()), Err(BadContent));
    let empty = [(true, compress(first)), (true, vec![0]), (true, compress(rest))];
    assert_eq!(unpack(&frame(32, 4, &content, &empty), content.len()), Err(BadContent), "a block of nothing");
    let long = [(false, content[..65_537.min(content.len())].to_vec())];
    assert_eq!(unpack(&frame(32, 4, &content, &long), content.len()).is_ok(), content.len() <= 65_536);
}

#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = frame(32, 7, &[], &[(true, compress(&vec![0; 4 << 20]))]);
    assert!(bomb.len() < 20_000);
    assert_eq!(unpack(&bomb, 131_072), Err(BadContent));
}

fn roundtrip(scheme: Scheme, content: &[u8]) -> (Scheme, usize) {
    let (mut scratch, mut packed) = (Vec::new(), b"before".to_vec());
    let kept = scheme::pack(scheme, content, &mut scratch, &mut packed);
    let mut out = vec![0xaa; content.len()];
    assert_eq!(scheme::unpack(kept, &packed[6..], &mut scratch, &mut out), Ok(()));
    assert!(out == content);
    (kept, packed.len() - 6)
}

#[test]
fn schemes() {
    assert_eq!(roundtrip(Scheme::Lz4, b"short"), (Scheme::None, 5), "no shorter, so not packed");
    assert_eq!(roundtrip(Scheme::GroupedLz4, &noise(3, 70_000)), (Scheme::None, 70_000));
    let floats: Vec<u8> = noise(4, 120_000);
    let floats: Vec<u8> =
        floats.as_chunks().0.iter().flat_map(|b| (u32::from_le_bytes(*b) >> 9 | 0x3f80_0000).to_le_bytes()).collect();
    assert_eq!(Scheme::choose(&floats), Scheme::GroupedLz4);
    assert!(roundtrip(Scheme::GroupedLz4, &floats).1 < roundtrip(Scheme::Lz4, &floats).1);
    assert_eq!(Scheme::choose(&noise(5, 65_536)), Scheme::Lz4);
    assert_eq!(Scheme::choose(&[0; 100]), Scheme::Lz4);
    assert_eq!(Scheme::choose(&[]), Scheme::Lz4);
    for code in 0..=255 {
        assert!(Scheme::from_code(code).is_none_or(|scheme| scheme.code() == code));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_unpacks(unit in vec(any::<u8>(), 1..40), times in 1..3_000_usize, cut in 0..7_usize) {
        let mut content = unit.repeat(times);
        content.truncate((content.len() - cut.min(content.len() - 1)).min(131_072));
        for scheme in [Scheme::None, Scheme::Lz4, Scheme::GroupedLz4] {
            roundtrip(scheme, &content);
        }
    }

    #[test]
    fn no_frame_panics(tail in vec(any::<u8>(), 0..200), flags: u8, sizes: u8, bytes in 0..2_000_usize) {
        let descriptor = [flags & 0b0011_1111 | 0b0100_0000, sizes & 0b0111_0000];
        let mut out = 0x184d_2204_u32.to_le_bytes().to_vec();
        out.extend_from_slice(&descriptor);
        out.push((xxh32(&descriptor) >> 8) as u8);
        out.extend_from_slice(&tail);
        let _ = unpack(&out, bytes);
        let _ = unpack(&tail, bytes);
    }
}
