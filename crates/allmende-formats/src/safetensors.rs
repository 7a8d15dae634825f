//! The header of a safetensors file: eight bytes of length, then JSON that places every tensor in the payload.
//!
//! The parser takes any prefix of the file, so that a model is checked before its payload has arrived, and it is stricter
//! than the reference: no duplicate names, no gaps or overlaps, plain names, everything bounded. [`canonical_header`]
//! writes the one header that a list of `F32` tensors can have; it is what the reference writes for the same tensors.

mod compare;
mod index;
mod summary;

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

pub use compare::{Difference, compare};
pub use index::{Index, IndexError, MAX_INDEX_BYTES, MAX_SHARDS, parse_index};
pub use summary::Summary;

/// Largest header, in bytes, the length itself not counted.
pub const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Largest header of a model that came from elsewhere and is only looked at, in bytes: a hundred thousand tensors.
pub const MAX_FOREIGN_HEADER_BYTES: u64 = 16 << 20;
/// Longest name of a tensor, in bytes.
pub const MAX_NAME_BYTES: usize = 200;
/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 16;
/// Bytes of the length before the header.
pub const LENGTH_BYTES: u64 = 8;

/// Why bytes are not an acceptable safetensors file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More of the file is needed to judge it.
    #[error("the header needs the first {bytes} bytes of the file")]
    Incomplete {
        /// Length of the prefix to call again with.
        bytes: u64,
    },
    /// The header is longer than it may be.
    #[error("the header has {bytes} bytes, more than the limit of {limit}")]
    HeaderTooLong {
        /// Its length.
        bytes: u64,
        /// How long it may be.
        limit: u64,
    },
    /// The file ends inside the header.
    #[error("the file ends inside its header")]
    Truncated,
    /// The header is not the JSON object that it has to be.
    #[error("the header is not valid: {0}")]
    Header(String),
    /// The name of a tensor is not acceptable.
    #[error("{0:?} is not a tensor name: 1 to {MAX_NAME_BYTES} visible ASCII characters")]
    Name(String),
    /// Two tensors have one name.
    #[error("tensor {0:?} appears twice")]
    Duplicate(String),
    /// A tensor has too many dimensions, or more elements than can be counted.
    #[error("the shape of tensor {0:?} is out of bounds")]
    Shape(String),
    /// The place of a tensor does not fit its shape and type.
    #[error("tensor {name:?} takes {found} bytes where its shape and type need {expected}")]
    Size {
        /// The tensor.
        name: String,
        /// Bytes that shape and type need.
        expected: u64,
        /// Bytes between its offsets.
        found: u64,
    },
    /// A tensor does not begin where the one before ended.
    #[error("tensor {name:?} begins at {found} of the payload, expected {expected}: no gaps, no overlaps")]
    Offset {
        /// The tensor.
        name: String,
        /// Where it has to begin.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// The payload is not as long as the tensors.
    #[error("the file has {found} bytes where its header describes {expected}")]
    FileSize {
        /// Bytes that the header describes.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The tensors to write are not in ascending order of their names.
    #[error("tensor {0:?} is not in ascending order of names")]
    Unsorted(String),
    /// The values to write are not as many as the tensors have elements.
    #[error("{found} values for {expected} elements")]
    Values {
        /// Elements of all tensors.
        expected: u64,
        /// Values given.
        found: u64,
    },
}

macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident $bits:literal $text:literal)*) => {
        /// The type of a tensor's elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
        #[non_exhaustive]
        pub enum Dtype { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Dtype {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Bits of one element.
            #[must_use]
            pub const fn bits(self) -> u64 {
                match self { $(Self::$name => $bits,)* }
            }

            /// The name in the header.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

dtypes! {
    /// Boolean, one byte.
    Bool 8 "BOOL"
    /// 4-bit float of OCP microscaling.
    F4 4 "F4"
    /// 6-bit float, 2 bits of exponent.
    F6E2M3 6 "F6_E2M3"
    /// 6-bit float, 3 bits of exponent.
    F6E3M2 6 "F6_E3M2"
    /// Unsigned byte.
    U8 8 "U8"
    /// Signed byte.
    I8 8 "I8"
    /// 8-bit float, 5 bits of exponent.
    F8E5M2 8 "F8_E5M2"
    /// 8-bit float, 4 bits of exponent.
    F8E4M3 8 "F8_E4M3"
    /// 8-bit power of two.
    F8E8M0 8 "F8_E8M0"
    /// 8-bit float, 4 bits of exponent, no negative zero.
    F8E4M3Fnuz 8 "F8_E4M3FNUZ"
    /// 8-bit float, 5 bits of exponent, no negative zero.
    F8E5M2Fnuz 8 "F8_E5M2FNUZ"
    /// Signed 16-bit integer.
    I16 16 "I16"
    /// Unsigned 16-bit integer.
    U16 16 "U16"
    /// Half precision.
    F16 16 "F16"
    /// Brain float.
    Bf16 16 "BF16"
    /// Signed 32-bit integer.
    I32 32 "I32"
    /// Unsigned 32-bit integer.
    U32 32 "U32"
    /// Single precision.
    F32 32 "F32"
    /// Complex of two single-precision numbers.
    C64 64 "C64"
    /// Double precision.
    F64 64 "F64"
    /// Signed 64-bit integer.
    I64 64 "I64"
    /// Unsigned 64-bit integer.
    U64 64 "U64"
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its dimensions; empty for a scalar.
    pub shape: Vec<u64>,
    /// First byte, counted from the start of the payload.
    pub start: u64,
    /// One past its last byte, counted from the start of the payload.
    pub end: u64,
}

impl TensorInfo {
    /// How many elements it has.
    #[must_use]
    pub fn elements(&self) -> u64 {
        // Fits: a tensor that was read has this many times its bits.
        self.shape.iter().product()
    }

    /// Bytes of its elements.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The tensors, in the order of the payload.
    pub tensors: Vec<TensorInfo>,
    /// The free-text metadata, in the order of the file. Models of Allmende carry none.
    pub metadata: Vec<(String, String)>,
    /// Bytes before the payload: the length and the header.
    pub header_bytes: u64,
    /// Bytes of the whole file.
    pub total_bytes: u64,
}

impl Layout {
    /// Bytes of the payload.
    #[must_use]
    pub const fn payload_bytes(&self) -> u64 {
        self.total_bytes - self.header_bytes
    }
}

/// Reads the header from the first bytes of a file of `file_bytes` bytes.
///
/// # Errors
/// [`Error::Incomplete`] says how long a prefix is needed; every other error condemns the file.
pub fn parse_header(prefix: &[u8], file_bytes: u64) -> Result<Layout, Error> {
    parse_header_within(prefix, file_bytes, MAX_HEADER_BYTES)
}

/// As [`parse_header`], for headers of at most `limit` bytes.
///
/// # Errors
/// As [`parse_header`].
pub fn parse_header_within(prefix: &[u8], file_bytes: u64, limit: u64) -> Result<Layout, Error> {
    if file_bytes < LENGTH_BYTES {
        return Err(Error::Truncated);
    }
    let Some((length, rest)) = prefix.split_first_chunk::<8>() else {
        return Err(Error::Incomplete { bytes: LENGTH_BYTES });
    };
    let length = u64::from_le_bytes(*length);
    if length > limit {
        return Err(Error::HeaderTooLong { bytes: length, limit });
    }
    let header_bytes = LENGTH_BYTES.saturating_add(length);
    if header_bytes > file_bytes {
        return Err(Error::Truncated);
    }
    let Some(json) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else {
        return Err(Error::Incomplete { bytes: header_bytes });
    };
    if json.first() != Some(&b'{') {
        return Err(Error::Header("it does not begin with {".into()));
    }
    let header: Header = serde_json::from_slice(json).map_err(|e| Error::Header(e.to_string()))?;
    let mut tensors = header.tensors;
    tensors.sort_by_key(|t| (t.start, t.end));
    let mut names = BTreeSet::new();
    let mut expected = 0;
    for tensor in &tensors {
        if !names.insert(tensor.name.as_str()) {
            return Err(Error::Duplicate(tensor.name.clone()));
        }
        let size = size_bytes(&tensor.name, tensor.dtype, &tensor.shape)?;
        if tensor.start != expected {
            return Err(Error::Offset { name: tensor.name.clone(), expected, found: tensor.start });
        }
        let found = tensor.end.checked_sub(tensor.start).ok_or_else(|| Error::Shape(tensor.name.clone()))?;
        if found != size {
            return Err(Error::Size { name: tensor.name.clone(), expected: size, found });
        }
        expected = tensor.end;
    }
    let described = header_bytes.saturating_add(expected);
    if described != file_bytes {
        return Err(Error::FileSize { expected: described, found: file_bytes });
    }
    Ok(Layout { tensors, metadata: header.metadata, header_bytes, total_bytes: file_bytes })
}

fn check_name(name: &str) -> Result<(), Error> {
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(Error::Name(name.chars().take(MAX_NAME_BYTES).collect()))
    }
}

fn size_bytes(name: &str, dtype: Dtype, shape: &[u64]) -> Result<u64, Error> {
    check_name(name)?;
    let bits = if shape.len() > MAX_RANK {
        None
    } else {
        shape.iter().try_fold(1_u64, |n, &d| n.checked_mul(d)).and_then(|n| n.checked_mul(dtype.bits()))
    };
    match bits {
        Some(bits) if bits % 8 == 0 => Ok(bits / 8),
        _ => Err(Error::Shape(name.to_owned())),
    }
}

/// The header as it stands, before its rules are checked.
struct Header {
    tensors: Vec<TensorInfo>,
    metadata: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { tensors: Vec::new(), metadata: Vec::new() };
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::custom("__metadata__ appears twice"));
                        }
                        header.metadata = map.next_value::<Metadata>()?.0;
                        continue;
                    }
                    let Entry { dtype, shape, data_offsets: (start, end) } = map.next_value()?;
                    header.tensors.push(TensorInfo { name, dtype, shape, start, end });
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

struct Metadata(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Metadata;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some(pair) = map.next_entry::<String, String>()? {
                    pairs.push(pair);
                }
                let distinct: BTreeSet<_> = pairs.iter().map(|(key, _)| key).collect();
                if distinct.len() != pairs.len() {
                    return Err(A::Error::custom("a metadata key appears twice"));
                }
                Ok(Metadata(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The bytes before the payload of a file of these `F32` tensors: length, header, and spaces up to a multiple of eight.
///
/// # Errors
/// [`Error`] if a name or shape is out of bounds, or the tensors are not in ascending order of names.
pub fn canonical_header(tensors: &[(String, Vec<usize>)]) -> Result<Vec<u8>, Error> {
    let mut json = String::from("{");
    let mut start = 0_u64;
    for (i, (name, shape)) in tensors.iter().enumerate() {
        if i > 0 {
            if tensors[i - 1].0 >= *name {
                return Err(Error::Unsorted(name.clone()));
            }
            json.push(',');
        }
        let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        let size = size_bytes(name, Dtype::F32, &shape)?;
        let end = start.checked_add(size).ok_or_else(|| Error::Shape(name.clone()))?;
        let quoted = serde_json::to_string(name).map_err(|e| Error::Header(e.to_string()))?;
        let dims: Vec<String> = shape.iter().map(u64::to_string).collect();
        let dims = dims.join(",");
        json.push_str(&format!(r#"{quoted}:{{"dtype":"F32","shape":[{dims}],"data_offsets":[{start},{end}]}}"#));
        start = end;
    }
    json.push('}');
    while json.len() % 8 != 0 {
        json.push(' ');
    }
    let length = json.len() as u64;
    if length > MAX_HEADER_BYTES {
        return Err(Error::HeaderTooLong { bytes: length, limit: MAX_HEADER_BYTES });
    }
    let mut header = length.to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    Ok(header)
}

/// A whole file of `F32` tensors; `values` holds the elements of all of them, one tensor after the other.
///
/// # Errors
/// [`Error`] as for [`canonical_header`], or if there are too many or too few values.
pub fn write_f32(tensors: &[(String, Vec<usize>)], values: &[f32]) -> Result<Vec<u8>, Error> {
    let mut file = canonical_header(tensors)?;
    let expected: u64 = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
    if expected != values.len() as u64 {
        return Err(Error::Values { expected, found: values.len() as u64 });
    }
    file.reserve(values.len() * 4);
    for value in values {
        file.extend_from_slice(&value.to_le_bytes());
    }
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
