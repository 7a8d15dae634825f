//! Lines of JSON: an object on each.

use serde_json::{Map, Value};

use super::{Error, MAX_COLUMNS, MAX_ROW_BYTES};

/// Reads rows as their bytes arrive.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    rows: u64,
}

impl Reader {
    /// Takes the next bytes and gives each row that is whole to `each`, which ends the reading by false. Gives whether to go
    /// on.
    ///
    /// # Errors
    /// [`Error`].
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Map<String, Value>) -> bool) -> Result<bool, Error> {
        while let Some(end) = bytes.iter().position(|&c| c == b'\n') {
            self.take(&bytes[..end])?;
            bytes = &bytes[end + 1..];
            if !self.end(&mut each)? {
                return Ok(false);
            }
        }
        self.take(bytes).map(|()| true)
    }

    /// Ends the table: its last line needs no end.
    ///
    /// # Errors
    /// [`Error::Json`] when it is cut off.
    pub fn finish(mut self, mut each: impl FnMut(Map<String, Value>) -> bool) -> Result<(), Error> {
        self.end(&mut each).map(|_| ())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.line.len() + bytes.len() > MAX_ROW_BYTES {
            return Err(Error::RowTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, each: &mut impl FnMut(Map<String, Value>) -> bool) -> Result<bool, Error> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(true);
        }
        let row: Map<String, Value> =
            serde_json::from_slice(line).map_err(|e| Error::Json { row: self.rows, said: e.to_string() })?;
        if row.len() > MAX_COLUMNS {
            return Err(Error::TooManyColumns);
        }
        self.rows += 1;
        Ok(each(row))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &[u8], piece: usize) -> Result<Vec<Value>, Error> {
        let (mut reader, mut rows) = (Reader::default(), Vec::new());
        for piece in text.chunks(piece.max(1)) {
            reader.push(piece, |row| {
                rows.push(Value::Object(row));
                true
            })?;
        }
        let mut last = None;
        reader.finish(|row| {
            last = Some(Value::Object(row));
            true
        })?;
        rows.extend(last);
        Ok(rows)
    }

    #[test]
    fn lines_are_rows() {
        let rows = read(b"{\"a\":1}\r\n\n{\"b\":[2]}", 4).unwrap();
        assert_eq!(rows, [json!({ "a": 1 }), json!({ "b": [2] })]);
        assert!(matches!(read(b"{\"a\":1}\n[1]\n", 99), Err(Error::Json { row: 1, .. })));
        assert!(matches!(read(b"{\"a\":", 99), Err(Error::Json { row: 0, .. })));
        assert_eq!(read(&vec![b'x'; MAX_ROW_BYTES + 1], 9_999), Err(Error::RowTooLong));
        assert!(read("[".repeat(100_000).as_bytes(), 9_999).is_err());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[{}\"a:1,\n ]{0,60}", piece in 1_usize..9) {
            prop_assert_eq!(read(text.as_bytes(), piece), read(text.as_bytes(), 1_000));
        }
    }
}
