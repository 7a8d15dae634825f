//! Xorbs: written, read in any slices, and refused for every wrong byte.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::noise;
use crate::xet::chunk_hash;
use crate::xet::hash::XetHash;
use crate::xet::tree::xorb_hash;
use crate::xet::xorb::{
    CHUNK_HEADER_BYTES, Error, FooterVersion, MAX_CHUNKS, MAX_UNPACKED_BYTES, Unpacker, Validator, Xorb, XorbWriter,
    encode_footer, read_chunk_header, read_footer,
};

/// Contents of chunks that pack well, a little, and not at all.
fn contents() -> Vec<Vec<u8>> {
    let floats: Vec<u8> = noise(4, 900).iter().flat_map(|b| (1.0 + f32::from(*b) / 1024.0).to_le_bytes()).collect();
    vec![b"words and words ".repeat(300), noise(7, 3_001), floats, vec![0; 131_072], b"x".to_vec(), noise(8, 1)]
}

fn write(contents: &[Vec<u8>], footer: bool) -> (Xorb, Vec<u8>) {
    let mut writer = XorbWriter::new();
    for content in contents {
        writer.begin_file();
        writer.push(chunk_hash(content), content).unwrap();
    }
    writer.finish(footer).unwrap()
}

fn validate(bytes: &[u8]) -> Result<Xorb, Error> {
    let mut validator = Validator::new();
    validator.push(bytes)?;
    validator.finish(None)
}

#[test]
fn what_is_written_is_read() {
    let contents = contents();
    let (written, plain) = write(&contents, false);
    assert_eq!(written.hash, xorb_hash(contents.iter().map(|c| (chunk_hash(c), c.len() as u64))));
    assert_eq!(validate(&plain).as_ref(), Ok(&written));
    assert_eq!((written.content_bytes, written.footer_bytes), (plain.len() as u64, 0));

    let (with_footer, whole) = write(&contents, true);
    assert_eq!(validate(&whole).as_ref(), Ok(&with_footer));
    assert_eq!(whole.len() as u64, with_footer.content_bytes + with_footer.footer_bytes);
    assert_eq!(whole[..plain.len()], plain);
    for tail in [with_footer.footer_bytes as usize, whole.len()] {
        assert_eq!(read_footer(&whole[whole.len() - tail..], whole.len() as u64).as_ref(), Ok(&with_footer));
    }
    assert_eq!(read_footer(&whole[plain.len() + 1..], whole.len() as u64), Err(Error::Truncated { chunk: 0 }));

    let old = [&plain[..], &encode_footer(FooterVersion::V0, &written.hash, &written.chunks)].concat();
    assert_eq!(validate(&old).map(|xorb| (xorb.hash, xorb.chunks)), Ok((written.hash, written.chunks.clone())));

    let mut unpacker = Unpacker::new();
    for range in [0..6, 2..4, 5..6, 3..3] {
        let chunks = &written.chunks[range.clone()];
        let stored =
            chunks.first().map_or(&[][..], |f| &plain[f.start as usize..chunks[chunks.len() - 1].end() as usize]);
        let mut found = Vec::new();
        unpacker
            .unpack_all(chunks, stored, |content| {
                found.extend_from_slice(content);
                Ok::<_, Error>(())
            })
            .unwrap();
        assert!(found == contents[range].concat());
    }
    let first = &written.chunks[0];
    assert_eq!(unpacker.unpack(first, &plain[..first.end() as usize - 1]), Err(Error::Stored));
    assert_eq!(unpacker.unpack(first, &plain[first.end() as usize..][..first.end() as usize]), Err(Error::Stored));
    let other = crate::xet::xorb::Chunk { hash: XetHash::ZERO, ..*first };
    assert!(matches!(unpacker.unpack(&other, &plain[..first.end() as usize]), Err(Error::Hash { .. })));
}

/// A chunk that is not packed.
fn plain_chunk(content: &[u8]) -> Vec<u8> {
    header(0, content.len(), 0, content.len()).into_iter().chain(content.iter().copied()).collect()
}

fn header(version: u8, packed: usize, scheme: u8, unpacked: usize) -> [u8; 8] {
    let [a, b, c, _] = (packed as u32).to_le_bytes();
    let [x, y, z, _] = (unpacked as u32).to_le_bytes();
    [version, a, b, c, scheme, x, y, z]
}

#[test]
fn refusals() {
    let good = plain_chunk(b"content");
    let after = |tail: &[u8]| validate(&[&good[..], tail].concat());
    assert_eq!(after(&header(1, 1, 0, 1)), Err(Error::ChunkVersion { chunk: 1, found: 1 }));
    assert_eq!(after(&header(0, 1, 3, 1)), Err(Error::UnknownScheme { chunk: 1, found: 3 }));
    assert_eq!(after(&header(0, 1, 99, 1)), Err(Error::UnknownScheme { chunk: 1, found: 99 }));
    assert_eq!(after(&header(0, 1, 1, 0)), Err(Error::ChunkLength { chunk: 1, bytes: 0 }));
    assert_eq!(after(&header(0, 1, 1, 131_073)), Err(Error::ChunkLength { chunk: 1, bytes: 131_073 }));
    assert_eq!(after(&header(0, 0, 1, 1)), Err(Error::PackedLength { chunk: 1, bytes: 0 }));
    assert_eq!(after(&header(0, 262_145, 1, 1)), Err(Error::PackedLength { chunk: 1, bytes: 262_145 }));
    assert_eq!(after(&header(0, 2, 0, 1)), Err(Error::Unpack { chunk: 1 }));
    assert_eq!(after(&[&header(0, 2, 1, 9)[..], b"ab"].concat()), Err(Error::Unpack { chunk: 1 }));
    assert_eq!(after(&header(0, 5, 0, 5)), Err(Error::Truncated { chunk: 1 }));
    assert_eq!(after(&[0; 3]), Err(Error::Truncated { chunk: 1 }));
    assert_eq!(after(b"XETBLOB\x02"), Err(Error::UnknownFooter { found: 2 }));
    assert_eq!(after(b"XETBLOB\x01"), Err(Error::Truncated { chunk: 1 }));
    assert_eq!(after(&[&b"XETBLOB\x01"[..], &[0; 40]].concat()), Err(Error::Footer { at: 8 }));
    assert_eq!(validate(b"XETBLOB\x01"), Err(Error::NoChunks));
    assert_eq!(validate(b""), Err(Error::NoChunks));
    let (xorb, mut whole) = write(&contents(), true);
    whole.push(0);
    assert_eq!(validate(&whole), Err(Error::Trailing));

    let mut validator = Validator::new();
    validator.push(&good).unwrap();
    let found = chunk_hash(b"content");
    assert_eq!(validator.finish(Some(&xorb.hash)), Err(Error::Hash { expected: xorb.hash, found }));
    assert_eq!(XorbWriter::new().finish(true), Err(Error::NoChunks));
    assert_eq!(read_chunk_header(*good.first_chunk().unwrap()).map(|(_, a, b)| (a, b)), Ok((7, 7)));
    assert!(read_chunk_header([1; 8]).is_err());
}

#[test]
fn limits() {
    let many = plain_chunk(b"c").repeat(MAX_CHUNKS);
    assert_eq!(validate(&many).map(|xorb| xorb.chunks.len()), Ok(MAX_CHUNKS));
    assert_eq!(validate(&[&many[..], &plain_chunk(b"c")].concat()), Err(Error::TooManyChunks));
    let largest = noise(9, 131_072);
    let mut validator = Validator::new();
    let mut writer = XorbWriter::new();
    for _ in 0..MAX_UNPACKED_BYTES / 131_072 {
        validator.push(&plain_chunk(&largest)).unwrap();
        writer.push(chunk_hash(&largest), &largest).unwrap();
    }
    assert!(!writer.fits(1));
    assert_eq!(writer.push(chunk_hash(b"c"), b"c"), Err(Error::TooLarge));
    assert_eq!(writer.push(chunk_hash(b""), b""), Err(Error::ChunkLength { chunk: 512, bytes: 0 }));
    let (written, bytes) = writer.finish(false).unwrap();
    assert!(bytes.len() as u64 > MAX_UNPACKED_BYTES, "a full xorb of noise is longer than what it holds");
    assert_eq!(validator.push(&plain_chunk(b"c")), Err(Error::TooLarge));
    assert_eq!(validate(&bytes).map(|xorb| xorb.hash), Ok(written.hash));
}

#[test]
fn every_changed_byte_is_seen() {
    let contents = [noise(6, 64).repeat(2), noise(7, 40), b"x".to_vec()];
    let (xorb, whole) = write(&contents, true);
    let free = whole.len() - 20..whole.len() - 4;
    let mut same = 0;
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            let mut validator = Validator::new();
            let accepted = validator.push(&changed).and_then(|()| validator.finish(Some(&xorb.hash))).is_ok();
            // A frame has bits without a meaning, such as the length of a match after the last one: its hash says
            // that what is accepted is the same content.
            if accepted && !free.contains(&at) {
                assert!(at < xorb.chunks[0].end() as usize, "bit {bit} of byte {at}");
                same += 1;
            }
            let footer = read_footer(&changed[xorb.content_bytes as usize..], whole.len() as u64);
            // Nothing in a footer says where the packed chunks end but their ends.
            let ends = xorb.content_bytes as usize + 52 + 3 * 32 + 12;
            let unseen = at < xorb.content_bytes as usize || free.contains(&at) || (ends..ends + 2 * 4).contains(&at);
            assert!(footer.is_err() || unseen, "bit {bit} of byte {at}");
        }
    }
    assert!(same <= 4, "{same}");
    for end in 0..whole.len() {
        let complete = end as u64 == xorb.content_bytes;
        let mut validator = Validator::new();
        let result = validator.push(&whole[..end]).and_then(|()| validator.finish(Some(&xorb.hash)));
        assert_eq!(result.is_ok(), complete, "the first {end} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn slices_do_not_matter(pieces in vec(1..5_000_usize, 1..40), footer: bool) {
        let (written, bytes) = write(&contents(), footer);
        let mut validator = Validator::new();
        let mut rest = &bytes[..];
        for take in pieces.into_iter().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(take.min(rest.len()));
            validator.push(piece).unwrap();
            rest = after;
        }
        prop_assert_eq!(validator.finish(Some(&written.hash)), Ok(written));
    }

    #[test]
    fn nothing_panics(bytes in vec(any::<u8>(), 0..400), at: Index, version in 0..2_u8) {
        let _ = validate(&bytes);
        let _ = read_footer(&bytes, bytes.len() as u64);
        // Behind a good chunk, and behind the beginning of a footer.
        let mut whole = plain_chunk(b"content");
        let _ = validate(&[&whole[..], &bytes].concat());
        whole.extend_from_slice(b"XETBLOB");
        whole.push(version);
        let _ = validate(&[&whole[..], &bytes].concat());
        let (_, mut good) = write(&contents()[4..], true);
        let at = at.index(good.len());
        good.splice(at..(at + bytes.len() / 100).min(good.len()), bytes);
        let _ = validate(&good);
        let _ = read_footer(&good, good.len() as u64);
        prop_assert!(CHUNK_HEADER_BYTES == 8);
    }
}
