//! Pages: their headers, and what is in them.

use super::encoding::{Raw, delta_lengths, delta_numbers, delta_texts, hybrid, plain, split_streams};
use super::meta::Codec;
use super::schema::{Leaf, Node, Physical};
use super::{Error, snappy, thrift};

/// Largest page, in bytes, packed or not.
pub const MAX_PAGE_BYTES: u64 = 32 << 20;
/// Largest header of a page, in bytes: statistics make it long.
pub const MAX_HEADER_BYTES: u64 = 64 << 10;
/// Most values of one page.
const MAX_PAGE_VALUES: u64 = 1 << 21;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Values that others name by their place.
    Dictionary,
    /// Values, with their levels packed among them.
    Data,
    /// Values, with their levels in front.
    DataV2 {
        /// Bytes of the levels of repetition.
        repetition_bytes: usize,
        /// Bytes of the levels of definition.
        definition_bytes: usize,
        /// Whether the values are packed.
        packed: bool,
    },
    /// Something that is passed over.
    Other,
}

/// What stands before a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// What the page holds.
    pub kind: PageKind,
    /// Bytes in the file.
    pub packed_bytes: usize,
    /// Bytes of what is in it.
    pub bytes: usize,
    /// Values, those that are missing included.
    pub values: usize,
    encoding: i64,
}

/// Reads the header of a page, and says how many bytes it takes.
///
/// # Errors
/// [`Error::Incomplete`] when it goes on beyond `bytes`, [`Error::TooLarge`] before anything of its size is touched.
pub fn page_header(bytes: &[u8]) -> Result<(PageHeader, usize), Error> {
    let (value, used) = thrift::read(bytes)?;
    let bad = || Error::Damaged("the head of a page");
    let size = |id: i16| value.count(id).ok_or_else(bad);
    let (whole, packed) = (size(2)?, size(3)?);
    if whole.max(packed) > MAX_PAGE_BYTES {
        return Err(Error::TooLarge("a page"));
    }
    let number = |value: u64| usize::try_from(value).map_err(|_| bad());
    let (kind, inner) = match value.int(1) {
        Some(0) => (PageKind::Data, value.field(5)),
        Some(2) => (PageKind::Dictionary, value.field(7)),
        Some(3) => {
            let inner = value.field(8).ok_or_else(bad)?;
            let levels = |id: i16| inner.count(id).filter(|n| *n <= packed).ok_or_else(bad).and_then(number);
            let (definition_bytes, repetition_bytes) = (levels(5)?, levels(6)?);
            let packed = inner.flag(7).unwrap_or(true);
            (PageKind::DataV2 { repetition_bytes, definition_bytes, packed }, Some(inner))
        }
        _ => (PageKind::Other, None),
    };
    let (mut values, mut encoding) = (0, 0);
    if kind != PageKind::Other {
        let inner = inner.ok_or_else(bad)?;
        values = inner.count(1).ok_or_else(bad)?;
        let at = if matches!(kind, PageKind::DataV2 { .. }) { 4 } else { 2 };
        encoding = inner.int(at).ok_or_else(bad)?;
    }
    if values > MAX_PAGE_VALUES {
        return Err(Error::TooLarge("the values of a page"));
    }
    let header =
        PageHeader { kind, packed_bytes: number(packed)?, bytes: number(whole)?, values: number(values)?, encoding };
    Ok((header, used))
}

fn unpack(codec: Codec, packed: &[u8], size: usize) -> Result<Vec<u8>, Error> {
    let bad = Error::Damaged("a page that does not unfold");
    let all = match codec {
        Codec::Plain => packed.to_vec(),
        Codec::Snappy => snappy::unpack(packed, size)?,
        Codec::Lz4 => lz4_flex::block::decompress(packed, size).map_err(|_| bad.clone())?,
        Codec::Gzip => {
            use std::io::Read as _;
            let mut all = Vec::with_capacity(size);
            let reader = flate2::read::MultiGzDecoder::new(packed);
            reader.take(size as u64 + 1).read_to_end(&mut all).map_err(|_| bad.clone())?;
            all
        }
        Codec::Other(code) => {
            let name = match code {
                3 => "LZO".to_owned(),
                4 => "Brotli".to_owned(),
                5 => "LZ4 in Hadoop's frame".to_owned(),
                6 => "Zstandard".to_owned(),
                code => format!("codec {code}"),
            };
            return Err(Error::Unsupported(name));
        }
    };
    if all.len() == size { Ok(all) } else { Err(bad) }
}

/// What a page of data holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Decoded {
    /// Levels of repetition; none where the column has none.
    pub repetition: Vec<u32>,
    /// Levels of definition; none where the column has none.
    pub definition: Vec<u32>,
    /// The values that are there.
    pub values: Vec<Raw>,
}

/// A column that is read page by page.
#[derive(Debug)]
pub struct Column {
    leaf: Leaf,
    codec: Codec,
    definition: u16,
    level: u16,
    dictionary: Vec<Raw>,
}

impl Column {
    /// The column `index` of the schema whose pages are packed by `codec`.
    #[must_use]
    pub fn new(root: &Node, index: usize, codec: Codec) -> Option<Self> {
        let path = root.path(index)?;
        let node = path.last()?;
        let leaf = *node.leaf()?;
        Some(Self { leaf, codec, definition: node.definition, level: node.level, dictionary: Vec::new() })
    }

    /// Whether each of its values is one row.
    #[must_use]
    pub const fn is_flat(&self) -> bool {
        self.level == 0
    }

    pub(super) const fn definition(&self) -> u16 {
        self.definition
    }

    /// Takes a page of its dictionary.
    ///
    /// # Errors
    /// [`Error`].
    pub fn dictionary(&mut self, header: &PageHeader, packed: &[u8]) -> Result<(), Error> {
        let bytes = unpack(self.codec, packed, header.bytes)?;
        self.dictionary = plain(&bytes, self.leaf.physical, header.values)?;
        Ok(())
    }

    fn values(&self, encoding: i64, bytes: &[u8], count: usize) -> Result<Vec<Raw>, Error> {
        let texts = |texts: Vec<Vec<u8>>| texts.into_iter().map(Raw::Bytes).collect();
        match (encoding, self.leaf.physical) {
            (0, physical) => plain(bytes, physical, count),
            (2 | 8, _) => {
                if count == 0 {
                    return Ok(Vec::new());
                }
                let (width, rest) = bytes.split_first().ok_or(Error::Damaged("a page is cut off"))?;
                let places = hybrid(rest, u32::from(*width), count)?;
                let find = |place: u32| self.dictionary.get(place as usize).cloned();
                let mut made = 0_usize;
                let mut values = Vec::with_capacity(count);
                for place in places {
                    let value = find(place).ok_or(Error::Damaged("a place beyond the dictionary"))?;
                    if let Raw::Bytes(bytes) = &value {
                        // A few bytes may name a long text again and again.
                        made = made.saturating_add(bytes.len());
                        if made as u64 > MAX_PAGE_BYTES {
                            return Err(Error::TooLarge("a page"));
                        }
                    }
                    values.push(value);
                }
                Ok(values)
            }
            (3, Physical::Boolean) => {
                let rest = bytes.get(4..).ok_or(Error::Damaged("a page is cut off"))?;
                Ok(hybrid(rest, 1, count)?.into_iter().map(|bit| Raw::Bool(bit == 1)).collect())
            }
            (5, Physical::Int32 | Physical::Int64) => delta_numbers(bytes, self.leaf.physical, count),
            (6, Physical::Bytes) => delta_lengths(bytes, count).map(texts),
            (7, Physical::Bytes | Physical::Fixed(_)) => delta_texts(bytes, count, MAX_PAGE_BYTES as usize).map(texts),
            (9, physical) => split_streams(bytes, physical, count),
            (other, _) => Err(Error::Unsupported(format!("encoding {other}"))),
        }
    }

    /// Reads a page of data.
    pub(super) fn data(&self, header: &PageHeader, packed: &[u8]) -> Result<Decoded, Error> {
        let cut = Error::Damaged("a page is cut off");
        let (levels, values);
        let mut decoded = Decoded::default();
        let count = header.values;
        let width = |most: u16| 16 - most.leading_zeros();
        match header.kind {
            PageKind::DataV2 { repetition_bytes, definition_bytes, packed: is_packed } => {
                let (repetition, rest) = packed.split_at_checked(repetition_bytes).ok_or(cut.clone())?;
                let (definition, rest) = rest.split_at_checked(definition_bytes).ok_or(cut.clone())?;
                if self.level > 0 {
                    decoded.repetition = hybrid(repetition, width(self.level), count)?;
                }
                if self.definition > 0 {
                    decoded.definition = hybrid(definition, width(self.definition), count)?;
                }
                let size = header.bytes.checked_sub(repetition_bytes + definition_bytes).ok_or(cut)?;
                let codec = if is_packed && !rest.is_empty() { self.codec } else { Codec::Plain };
                values = unpack(codec, rest, size)?;
                levels = 0;
            }
            _ => {
                values = unpack(self.codec, packed, header.bytes)?;
                let mut at = 0;
                for (most, into) in [(self.level, &mut decoded.repetition), (self.definition, &mut decoded.definition)]
                {
                    if most == 0 {
                        continue;
                    }
                    let (length, rest) =
                        values.get(at..).and_then(|rest| rest.split_first_chunk::<4>()).ok_or(cut.clone())?;
                    let length = u32::from_le_bytes(*length) as usize;
                    *into = hybrid(rest.get(..length).ok_or(cut.clone())?, width(most), count)?;
                    at += 4 + length;
                }
                levels = at;
            }
        }
        let there = match self.definition {
            0 => count,
            most => decoded.definition.iter().filter(|level| **level == u32::from(most)).count(),
        };
        let within = |levels: &[u32], most: u16| levels.iter().all(|level| *level <= u32::from(most));
        if !within(&decoded.definition, self.definition) || !within(&decoded.repetition, self.level) {
            return Err(Error::Damaged("a level beyond the schema's"));
        }
        decoded.values =
            self.values(header.encoding, values.get(levels..).ok_or(Error::Damaged("a page is cut off"))?, there)?;
        Ok(decoded)
    }
}
