//! Thrift's compact protocol, read into a tree.

use super::Error;

/// Most nodes of one tree.
const MAX_NODES: u32 = 1 << 21;
/// How deep a tree may be.
const MAX_DEPTH: u32 = 24;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Bool(bool),
    Int(i64),
    Double,
    Bytes(&'a [u8]),
    List(Vec<Self>),
    Struct(Vec<(i16, Self)>),
}

impl<'a> Value<'a> {
    pub fn field(&self, id: i16) -> Option<&Self> {
        let Self::Struct(fields) = self else { return None };
        fields.iter().find(|(known, _)| *known == id).map(|(_, value)| value)
    }

    pub fn int(&self, id: i16) -> Option<i64> {
        match self.field(id)? {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A number that cannot be negative.
    pub fn count(&self, id: i16) -> Option<u64> {
        self.int(id).and_then(|value| u64::try_from(value).ok())
    }

    pub fn flag(&self, id: i16) -> Option<bool> {
        match self.field(id)? {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn text(&self, id: i16) -> Option<&'a str> {
        match self.field(id)? {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub fn list(&self, id: i16) -> Option<&[Self]> {
        match self.field(id)? {
            Self::List(values) => Some(values),
            _ => None,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: u32,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Error> {
        let byte = *self.bytes.get(self.at).ok_or(Error::Incomplete)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Damaged("a number is too long"))
    }

    fn zigzag(&mut self) -> Result<i64, Error> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn value(&mut self, kind: u8, depth: u32) -> Result<Value<'a>, Error> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            return Err(Error::TooLarge("its metadata"));
        }
        Ok(match kind {
            1 => Value::Bool(true),
            2 => Value::Bool(false),
            3 => Value::Int(i64::from(self.byte()? as i8)),
            4..=6 => Value::Int(self.zigzag()?),
            7 => {
                self.at += 8;
                Value::Double
            }
            8 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Damaged("a text's length"))?;
                let end = self.at.checked_add(length).ok_or(Error::Damaged("a text's length"))?;
                let bytes = self.bytes.get(self.at..end).ok_or(Error::Incomplete)?;
                self.at = end;
                Value::Bytes(bytes)
            }
            9 | 10 => {
                let head = self.byte()?;
                let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                let mut values = Vec::new();
                for _ in 0..length {
                    values.push(match head & 15 {
                        // Elements of lists have their truth in a byte.
                        1 | 2 => Value::Bool(self.byte()? == 1),
                        kind => self.value(kind, depth + 1)?,
                    });
                    if values.len() as u64 > u64::from(MAX_NODES) {
                        return Err(Error::TooLarge("its metadata"));
                    }
                }
                Value::List(values)
            }
            12 => Value::Struct(self.fields(depth)?),
            // Maps do not occur in what is read.
            _ => return Err(Error::Damaged("an unknown type in the metadata")),
        })
    }

    fn fields(&mut self, depth: u32) -> Result<Vec<(i16, Value<'a>)>, Error> {
        let (mut fields, mut id) = (Vec::new(), 0_i16);
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(fields);
            }
            id = match head >> 4 {
                0 => i16::try_from(self.zigzag()?).map_err(|_| Error::Damaged("a field's number"))?,
                step => id.checked_add(i16::from(step)).ok_or(Error::Damaged("a field's number"))?,
            };
            fields.push((id, self.value(head & 15, depth + 1)?));
        }
    }
}

/// Reads a struct from the beginning of `bytes`, and says how many of them it takes.
///
/// # Errors
/// [`Error::Incomplete`] when it goes on beyond them.
pub fn read(bytes: &[u8]) -> Result<(Value<'_>, usize), Error> {
    let mut reader = Reader { bytes, at: 0, nodes: 0 };
    let fields = reader.fields(0)?;
    if reader.at > bytes.len() { Err(Error::Incomplete) } else { Ok((Value::Struct(fields), reader.at)) }
}
