//! The end of a file, which says where everything lies.

use std::ops::Range;

use super::Error;
use super::schema::{Node, build};
use super::thrift::{self, Value};

/// Bytes of a file's end that say where its metadata lies.
pub const TAIL_BYTES: u64 = 8;
/// Largest metadata, in bytes.
const MAX_FOOTER_BYTES: u64 = 8 << 20;
/// Most groups of rows.
const MAX_ROW_GROUPS: usize = 100_000;

/// How pages are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Plain,
    /// Snappy.
    Snappy,
    /// Gzip.
    Gzip,
    /// LZ4, without a frame.
    Lz4,
    /// By something that is not read here: its number in the format.
    Other(i64),
}

/// The values of one column in one group of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// How its pages are packed.
    pub codec: Codec,
    /// How many values, those that are missing included.
    pub values: u64,
    /// Where its pages lie.
    pub range: Range<u64>,
}

/// A group of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroup {
    /// How many.
    pub rows: u64,
    /// Their columns, in the order of the schema's.
    pub chunks: Vec<Chunk>,
    /// Bytes of the values before they were packed.
    pub unpacked_bytes: u64,
}

/// What the end of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The columns.
    pub root: Node,
    /// The groups of rows.
    pub groups: Vec<RowGroup>,
    /// All rows.
    pub rows: u64,
    /// What `datasets` says about the columns, in its own words, if it wrote the file.
    pub features: Option<serde_json::Value>,
}

/// Where the metadata lies in a file of `size` bytes that ends with `tail`, its last [`TAIL_BYTES`].
///
/// # Errors
/// [`Error::NotParquet`].
pub fn footer_range(tail: &[u8], size: u64) -> Result<Range<u64>, Error> {
    let Some((length, magic)) = tail.split_first_chunk::<4>() else { return Err(Error::NotParquet) };
    match magic {
        b"PAR1" => {}
        b"PARE" => return Err(Error::Encrypted),
        _ => return Err(Error::NotParquet),
    }
    let length = u64::from(u32::from_le_bytes(*length));
    if length > MAX_FOOTER_BYTES {
        return Err(Error::TooLarge("its metadata"));
    }
    let end = size.checked_sub(TAIL_BYTES).ok_or(Error::NotParquet)?;
    // Four bytes of magic stand in front.
    let start =
        end.checked_sub(length).filter(|start| *start >= 4).ok_or(Error::Damaged("the length of its metadata"))?;
    Ok(start..end)
}

fn chunk(column: &Value<'_>, end: u64) -> Result<Chunk, Error> {
    if column.field(1).is_some() {
        return Err(Error::Unsupported("columns in other files".to_owned()));
    }
    let meta = column.field(3).ok_or(Error::Unsupported("encrypted columns".to_owned()))?;
    let bad = Error::Damaged("where a column lies");
    let codec = match meta.int(4).ok_or(bad.clone())? {
        0 => Codec::Plain,
        1 => Codec::Snappy,
        2 => Codec::Gzip,
        7 => Codec::Lz4,
        other => Codec::Other(other),
    };
    let data = meta.count(9).ok_or(bad.clone())?;
    let start = meta.count(11).filter(|dictionary| *dictionary >= 4).map_or(data, |dictionary| dictionary.min(data));
    let stop =
        meta.count(7).and_then(|bytes| start.checked_add(bytes)).filter(|stop| *stop <= end).ok_or(bad.clone())?;
    Ok(Chunk { codec, values: meta.count(5).ok_or(bad)?, range: start..stop })
}

fn features(file: &Value<'_>) -> Option<serde_json::Value> {
    let pairs = file.list(5)?;
    let text = pairs.iter().find(|pair| pair.text(1) == Some("huggingface"))?.text(2)?;
    let mut value: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(value.pointer_mut("/info/features")?.take()).filter(serde_json::Value::is_object)
}

/// Reads the metadata; `size` is the file's.
///
/// # Errors
/// [`Error`].
pub fn parse_footer(bytes: &[u8], size: u64) -> Result<Metadata, Error> {
    let cut = |error| if error == Error::Incomplete { Error::Damaged("its metadata is cut off") } else { error };
    let (file, _) = thrift::read(bytes).map_err(cut)?;
    let (root, leaves) = build(file.list(2).ok_or(Error::Damaged("it has no schema"))?)?;
    let groups = file.list(4).unwrap_or_default();
    if groups.len() > MAX_ROW_GROUPS {
        return Err(Error::TooLarge("its groups of rows"));
    }
    let mut all = Vec::with_capacity(groups.len());
    let mut rows = 0_u64;
    for group in groups {
        let columns = group.list(1).unwrap_or_default();
        if columns.len() != leaves {
            return Err(Error::Damaged("a group of rows has other columns than the schema"));
        }
        let count = group.count(3).ok_or(Error::Damaged("a group of rows without their number"))?;
        rows = rows.checked_add(count).ok_or(Error::Damaged("the number of its rows"))?;
        let chunks = columns.iter().map(|column| chunk(column, size)).collect::<Result<_, _>>()?;
        all.push(RowGroup { rows: count, chunks, unpacked_bytes: group.count(2).unwrap_or(0) });
    }
    if file.count(3) != Some(rows) {
        return Err(Error::Damaged("its groups have not as many rows as it says"));
    }
    Ok(Metadata { root, groups: all, rows, features: features(&file) })
}
