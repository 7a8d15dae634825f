//! Comma-separated values, as RFC 4180 has them and as they occur: quotes doubled, line ends of either kind, a byte order
//! mark. The first line names the columns.

use super::{Error, MAX_COLUMNS, MAX_ROW_BYTES};

/// Where in a row the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a value.
    Start,
    /// In a value without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote between quotes: the end, or one that is meant.
    Quote,
}

/// Reads rows as their bytes arrive.
#[derive(Debug)]
pub struct Reader {
    delimiter: u8,
    at: At,
    value: Vec<u8>,
    row: Vec<Vec<u8>>,
    row_bytes: usize,
    /// Whether a line end of two bytes is half read.
    returned: bool,
    names: Option<Vec<String>>,
    rows: u64,
    begun: bool,
}

impl Reader {
    /// A reader of values that `delimiter` stands between.
    #[must_use]
    pub const fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            at: At::Start,
            value: Vec::new(),
            row: Vec::new(),
            row_bytes: 0,
            returned: false,
            names: None,
            rows: 0,
            begun: false,
        }
    }

    /// The names of the columns, once the first line is read.
    #[must_use]
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// Takes the next bytes and gives the values of each row that is whole to `each`, which ends the reading by false.
    /// Gives whether to go on.
    ///
    /// # Errors
    /// [`Error`].
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Vec<String>) -> bool) -> Result<bool, Error> {
        for &byte in bytes {
            if std::mem::take(&mut self.returned) && byte == b'\n' {
                continue;
            }
            match (self.at, byte) {
                (At::Quoted, b'"') => self.at = At::Quote,
                (At::Quoted, _) => self.put(byte)?,
                (At::Start, b'"') => self.at = At::Quoted,
                (At::Quote, b'"') => {
                    self.at = At::Quoted;
                    self.put(byte)?;
                }
                (_, b'\r' | b'\n') => {
                    self.returned = byte == b'\r';
                    if !self.end_row(&mut each)? {
                        return Ok(false);
                    }
                }
                (_, byte) if byte == self.delimiter => self.end_value()?,
                _ => {
                    self.at = At::Plain;
                    self.put(byte)?;
                }
            }
        }
        Ok(true)
    }

    /// Ends the table: its last line needs no end.
    ///
    /// # Errors
    /// [`Error::Open`] when it ends between quotes.
    pub fn finish(mut self, mut each: impl FnMut(Vec<String>) -> bool) -> Result<Option<Vec<String>>, Error> {
        if self.at == At::Quoted {
            return Err(Error::Open);
        }
        self.end_row(&mut each)?;
        Ok(self.names)
    }

    fn put(&mut self, byte: u8) -> Result<(), Error> {
        self.row_bytes += 1;
        if self.row_bytes > MAX_ROW_BYTES {
            return Err(Error::RowTooLong);
        }
        self.value.push(byte);
        Ok(())
    }

    fn end_value(&mut self) -> Result<(), Error> {
        if self.row.len() >= MAX_COLUMNS {
            return Err(Error::TooManyColumns);
        }
        self.row.push(std::mem::take(&mut self.value));
        self.at = At::Start;
        Ok(())
    }

    fn end_row(&mut self, each: &mut impl FnMut(Vec<String>) -> bool) -> Result<bool, Error> {
        if self.row.is_empty() && self.value.is_empty() && self.at == At::Start {
            // An empty line.
            return Ok(true);
        }
        self.end_value()?;
        self.row_bytes = 0;
        let row = std::mem::take(&mut self.row);
        let mut texts = Vec::with_capacity(row.len());
        for value in row {
            texts.push(String::from_utf8(value).map_err(|_| Error::Text(self.rows))?);
        }
        if !std::mem::replace(&mut self.begun, true)
            && let Some(first) = texts.first_mut()
            && let Some(rest) = first.strip_prefix('\u{feff}')
        {
            *first = rest.to_owned();
        }
        let Some(names) = &self.names else {
            self.names = Some(texts);
            return Ok(true);
        };
        if texts.len() != names.len() {
            return Err(Error::Ragged { row: self.rows, expected: names.len(), found: texts.len() });
        }
        self.rows += 1;
        Ok(each(texts))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8], piece: usize) -> Result<(Vec<String>, Vec<Vec<String>>), Error> {
        let (mut reader, mut rows) = (Reader::new(b','), Vec::new());
        for piece in text.chunks(piece.max(1)) {
            reader.push(piece, |row| {
                rows.push(row);
                true
            })?;
        }
        let mut last = None;
        let names = reader.finish(|row| {
            last = Some(row);
            true
        })?;
        rows.extend(last);
        Ok((names.unwrap_or_default(), rows))
    }

    #[test]
    fn forms_that_occur() {
        let text = "\u{feff}a,\"b \"\"c\"\"\"\r\n1,\"x\ny\"\r\n\r\n,\n\"\",z";
        let (names, rows) = read(text.as_bytes(), 3).unwrap();
        assert_eq!(names, ["a", "b \"c\""]);
        assert_eq!(rows, [["1", "x\ny"], ["", ""], ["", "z"]]);
        assert_eq!(read(b"a,b\n1\n", 9), Err(Error::Ragged { row: 0, expected: 2, found: 1 }));
        assert_eq!(read(b"a\n\"x", 9), Err(Error::Open));
        assert_eq!(read(b"a\n\xff\n", 9), Err(Error::Text(0)));
        assert_eq!(read(&vec![b','; MAX_COLUMNS + 1], 999), Err(Error::TooManyColumns));
        assert_eq!(read(&vec![b'x'; MAX_ROW_BYTES + 1], 9_999), Err(Error::RowTooLong));
        assert_eq!(read(b"", 1).unwrap(), (vec![], vec![]));
    }

    proptest! {
        /// What is written with every value quoted is read again, in any pieces.
        #[test]
        fn what_is_quoted_is_read(
            rows in prop::collection::vec(prop::collection::vec("[a\",\r\n é]{0,6}", 2), 1..5), piece in 1_usize..20,
        ) {
            let quote = |value: &String| format!("\"{}\"", value.replace('"', "\"\""));
            let lines: Vec<String> = rows.iter().map(|row| row.iter().map(quote).collect::<Vec<_>>().join(",")).collect();
            let (names, read) = read(lines.join("\r\n").as_bytes(), piece).unwrap();
            prop_assert_eq!(&names, &rows[0]);
            prop_assert_eq!(&read[..], &rows[1..]);
        }

        #[test]
        fn pieces_do_not_matter(text in "[a,\"\r\n]{0,60}", piece in 1_usize..9) {
            prop_assert_eq!(read(text.as_bytes(), piece), read(text.as_bytes(), 1_000));
        }
    }
}
