//! Files that pyarrow wrote, and bytes that nobody should have.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Reads `want` rows after the first `skip`, all pages of each group of rows from its bytes.
pub fn rows(file: &[u8], skip: u64, want: u64) -> Result<Vec<Value>, Error> {
    let size = file.len() as u64;
    let tail = &file[file.len().saturating_sub(TAIL_BYTES as usize)..];
    let range = footer_range(tail, size)?;
    let meta = parse_footer(&file[range.start as usize..range.end as usize], size)?;
    let (mut found, mut before) = (Vec::new(), 0);
    for group in &meta.groups {
        let (first, last) = (skip.max(before), (skip + want).min(before + group.rows));
        if first < last {
            let mut columns = Vec::new();
            for (index, chunk) in group.chunks.iter().enumerate() {
                let column = Column::new(&meta.root, index, chunk.codec).unwrap();
                let mut assembler = Assembler::new(column, first - before, last - first);
                let mut at = chunk.range.start as usize;
                let end = chunk.range.end as usize;
                while at < end && !assembler.is_full() {
                    let (header, used) = page_header(&file[at..end])?;
                    let page = file.get(at + used..at + used + header.packed_bytes).ok_or(Error::Incomplete)?;
                    at += used + header.packed_bytes;
                    match header.kind {
                        PageKind::Dictionary => assembler.dictionary(&header, page)?,
                        PageKind::Other => {}
                        _ if assembler.passes_over(&header) => {}
                        _ => assembler.data(&header, page)?,
                    }
                }
                columns.push(assembler);
            }
            for _ in first..last {
                let cells = columns.iter_mut().map(|column| column.next_row().unwrap_or_default()).collect();
                found.push(Value::Object(meta.root.row(cells)));
            }
        }
        before += group.rows;
    }
    Ok(found)
}

const MADE: &[(&str, &[u8])] = &[
    ("plain", include_bytes!("../../testdata/plain.parquet")),
    ("snappy", include_bytes!("../../testdata/snappy.parquet")),
    ("gzip_v2", include_bytes!("../../testdata/gzip_v2.parquet")),
    ("lz4_delta", include_bytes!("../../testdata/lz4_delta.parquet")),
];

#[test]
fn files_of_pyarrow_are_read() {
    let wanted: Vec<Value> =
        include_str!("../../testdata/rows.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for (name, file) in MADE {
        assert_eq!(rows(file, 0, 1_000).unwrap(), wanted, "{name}");
        for (skip, want) in [(0, 1), (7, 5), (59, 2), (199, 9), (200, 1)] {
            let end = (skip + want).min(wanted.len());
            assert_eq!(rows(file, skip as u64, want as u64).unwrap(), wanted[skip..end], "{name} {skip}");
        }
    }
}

#[test]
fn what_is_not_read_is_named() {
    let zstd = include_bytes!("../../testdata/zstd.parquet");
    assert_eq!(rows(zstd, 0, 1), Err(Error::Unsupported("Zstandard".to_owned())));
    assert_eq!(rows(b"PAR1xxxxPAR0", 0, 1), Err(Error::NotParquet));
    assert_eq!(rows(b"PAR1\x04\0\0\0PARE", 0, 1), Err(Error::Encrypted));
    assert_eq!(rows(b"PAR1\xff\xff\0\0PAR1", 0, 1), Err(Error::Damaged("the length of its metadata")));
    // A page that says that it unfolds to two gigabytes.
    let huge = b"\x15\x00\x15\xfe\xff\xff\xff\x0f\x15\x10\x2c\x15\x02\x15\x00\x00\x00";
    assert_eq!(page_header(huge), Err(Error::TooLarge("a page")));
}

#[test]
fn columns_say_what_they_are() {
    let file = MADE[0].1;
    let size = file.len() as u64;
    let range = footer_range(&file[file.len() - 8..], size).unwrap();
    let meta = parse_footer(&file[range.start as usize..range.end as usize], size).unwrap();
    let kinds: Vec<_> = meta.root.children().iter().map(|node| (node.name.as_str(), node.feature())).collect();
    let value = |dtype: &str| json!({ "dtype": dtype, "_type": "Value" });
    assert_eq!(kinds[0], ("i", value("int64")));
    assert!(kinds.contains(&("tags", json!({ "feature": value("string"), "_type": "List" }))));
    assert!(kinds.contains(&("s", json!({ "a": value("int32"), "b": value("string") }))));
    assert!(kinds.contains(&("when", value("timestamp[us]"))));
}

#[test]
fn snappy_copies_overlap() {
    // "abc" and then nine bytes of what stands three before.
    assert_eq!(snappy::unpack(&[12, 8, b'a', b'b', b'c', 0b10101, 3], 12).unwrap(), b"abcabcabcabc");
    assert!(snappy::unpack(&[12, 8, b'a', b'b', b'c', 0b10101, 4], 12).is_err());
    assert!(snappy::unpack(&[3, 8, b'a', b'b', b'c'], 4).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_byte_panics(which in 0..4_usize, changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
        let mut file = MADE[which].1.to_vec();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = rows(&file, 3, 20);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 0..400_usize) {
        let _ = parse_footer(&bytes, u64::MAX);
        let _ = page_header(&bytes);
        let _ = snappy::unpack(&bytes, size);
        let _ = footer_range(&bytes, bytes.len() as u64);
    }
}
