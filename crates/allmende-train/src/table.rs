//! Tables of numbers with a class label, read from CSV, plain or gzipped.
//!
//! Numbers only: no commas within quotes, no missing values, no categories. Whatever is not so is refused with its row and column,
//! because a silent default would be trained into a model that others pay for. Rows are counted as an editor counts lines:
//! the header is row 1.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

/// Most rows of a table.
pub const MAX_ROWS: usize = 10_000_000;
/// Most columns of a table, the label included.
pub const MAX_COLUMNS: usize = 65_536;
/// Most values of a table, which take 4 bytes each in memory.
pub const MAX_VALUES: usize = 1 << 28;
/// Longest line, in bytes.
pub const MAX_LINE_BYTES: u64 = 1 << 20;
/// Longest text, in bytes after decompression.
pub const MAX_TEXT_BYTES: u64 = 4 << 30;
/// Longest column name, in bytes.
pub const MAX_COLUMN_NAME_BYTES: usize = 200;
/// Most classes of a label.
pub const MAX_CLASSES: u32 = 65_536;

/// Why bytes are not a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The text cannot be read.
    #[error("the table cannot be read near row {row}: {source}")]
    Read {
        /// Where reading stopped.
        row: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// The header is not acceptable.
    #[error("header, column {column}: {rule}")]
    Header {
        /// Its number, from 1.
        column: usize,
        /// The rule it broke.
        rule: String,
    },
    /// A row has too few or too many cells.
    #[error("row {row} has {found} cells, the header has {expected}")]
    Cells {
        /// The row.
        row: u64,
        /// Cells of the header.
        expected: usize,
        /// Cells of the row.
        found: usize,
    },
    /// A cell is not what its column holds.
    #[error("row {row}, column {column}: {text:?} {rule}")]
    Cell {
        /// The row.
        row: u64,
        /// Name of the column.
        column: String,
        /// Its text, shortened.
        text: String,
        /// The rule it broke.
        rule: String,
    },
    /// A limit was passed.
    #[error("row {row}: the table has more than {limit} {what}")]
    Limit {
        /// The row.
        row: u64,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// There are no rows.
    #[error("the table has no rows")]
    Empty,
    /// The tables do not have the same columns.
    #[error("the tables do not have the same columns")]
    Columns,
}

/// Rows of finite numbers, each with a class.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The numbers, row after row.
    pub features: Vec<f32>,
    /// The class of each row.
    pub labels: Vec<u32>,
    /// Names of the feature columns.
    pub columns: Vec<String>,
    /// Name of the label column.
    pub label: String,
    /// Where each row stood in the file; the header is row 1.
    pub file_rows: Vec<u32>,
}

/// What may be said of a table without showing a row: equal for every member whose table has the same columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The features, in order.
    pub features: Vec<Column>,
    /// Name of the label column.
    pub label: String,
    /// Classes that the label may take, 0 to `classes − 1`: what is agreed, not what this table happens to hold.
    pub classes: u32,
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its cells are.
    #[serde(rename = "type")]
    pub kind: ColumnKind,
}

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// A finite number.
    Number,
}

impl Table {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Features of row `i`; empty past the end.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f32] {
        let width = self.columns.len();
        self.features.get(i * width..(i + 1) * width).unwrap_or(&[])
    }

    /// A table of these rows, in this order; indices past the end are left out.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut chosen = Self {
            features: Vec::with_capacity(rows.len() * self.columns.len()),
            labels: Vec::with_capacity(rows.len()),
            columns: self.columns.clone(),
            label: self.label.clone(),
            file_rows: Vec::with_capacity(rows.len()),
        };
        for &row in rows.iter().filter(|&&row| row < self.rows()) {
            chosen.features.extend_from_slice(self.row(row));
            chosen.labels.push(self.labels[row]);
            chosen.file_rows.push(self.file_rows[row]);
        }
        chosen
    }

    /// All rows of several tables, one table after the other.
    ///
    /// # Errors
    /// [`TableError::Columns`] if they differ in columns, [`TableError::Empty`] if there is none.
    pub fn concat(tables: &[&Self]) -> Result<Self, TableError> {
        let (first, rest) = tables.split_first().ok_or(TableError::Empty)?;
        let mut whole = (*first).clone();
        for table in rest {
            if table.columns != whole.columns || table.label != whole.label {
                return Err(TableError::Columns);
            }
            whole.features.extend_from_slice(&table.features);
            whole.labels.extend_from_slice(&table.labels);
            whole.file_rows.extend_from_slice(&table.file_rows);
        }
        Ok(whole)
    }

    /// One more than the largest label.
    #[must_use]
    pub fn classes_seen(&self) -> u32 {
        self.labels.iter().max().map_or(0, |max| max + 1)
    }

    /// The schema, for a label of `classes` classes.
    #[must_use]
    pub fn schema(&self, classes: u32) -> Schema {
        let column = |name: &String| Column { name: name.clone(), kind: ColumnKind::Number };
        Schema { features: self.columns.iter().map(column).collect(), label: self.label.clone(), classes }
    }

    /// Reads a table whose label takes `classes` classes. A gzip file is recognized by its first bytes. The label is the
    /// column named `label`, or else the last one.
    ///
    /// # Errors
    /// [`TableError`] names the row and the column.
    pub fn read(source: impl Read, classes: u32) -> Result<Self, TableError> {
        let mut source = BufReader::with_capacity(64 << 10, source);
        let start = source.fill_buf().map_err(|source| TableError::Read { row: 1, source })?;
        if start.starts_with(&[0x1f, 0x8b]) {
            // Bombs are bounded like any text: by line, rows, values and total.
            read_text(BufReader::new(flate2::bufread::MultiGzDecoder::new(source)), classes)
        } else {
            read_text(source, classes)
        }
    }
}

/// The lines of a text, each with its number, within the limits.
struct Lines<R> {
    source: R,
    line: Vec<u8>,
    row: u64,
    text_bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line that is not blank, without its end.
    fn next(&mut self) -> Result<Option<(u64, &[u8])>, TableError> {
        loop {
            self.line.clear();
            self.row += 1;
            let row = self.row;
            let limit = |what, limit| Err(TableError::Limit { row, what, limit });
            let read = (&mut self.source).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut self.line);
            let bytes = read.map_err(|source| TableError::Read { row, source })? as u64;
            self.text_bytes += bytes;
            if bytes > MAX_LINE_BYTES {
                return limit("bytes in one line", MAX_LINE_BYTES);
            }
            if self.text_bytes > MAX_TEXT_BYTES {
                return limit("bytes of text", MAX_TEXT_BYTES);
            }
            if bytes == 0 {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some((row, self.line.trim_ascii_end())));
            }
        }
    }
}

fn read_text(source: impl BufRead, classes: u32) -> Result<Table, TableError> {
    let mut lines = Lines { source, line: Vec::new(), row: 0, text_bytes: 0 };
    let Some((_, first)) = lines.next()? else {
        return Err(TableError::Empty);
    };
    let names = header(first)?;
    let label_at = names.iter().position(|n| n == "label").unwrap_or(names.len() - 1);
    let mut columns = names.clone();
    let label = columns.remove(label_at);
    let classes = classes.min(MAX_CLASSES);
    let mut table = Table { features: Vec::new(), labels: Vec::new(), columns, label, file_rows: Vec::new() };
    while let Some((row, line)) = lines.next()? {
        let limit = |what, limit: usize| Err(TableError::Limit { row, what, limit: limit as u64 });
        let found = line.split(|&b| b == b',').count();
        if found != names.len() {
            return Err(TableError::Cells { row, expected: names.len(), found });
        }
        if table.rows() == MAX_ROWS {
            return limit("rows", MAX_ROWS);
        }
        if table.features.len() + found > MAX_VALUES {
            return limit("values", MAX_VALUES);
        }
        for (i, cell) in line.split(|&b| b == b',').enumerate() {
            let text = trim(cell);
            let fail = |rule: String| TableError::Cell { row, column: names[i].clone(), text: shorten(&text), rule };
            if i == label_at {
                let class = text.parse::<u32>().ok().filter(|&class| class < classes);
                table
                    .labels
                    .push(class.ok_or_else(|| fail(format!("is not a class: a whole number below {classes}")))?);
            } else {
                let value = text.parse::<f32>().map_err(|_| fail("is not a number".into()))?;
                if !value.is_finite() {
                    return Err(fail("is not a finite number".into()));
                }
                // −0 and 0 are one value, also for finding duplicates.
                table.features.push(if value == 0.0 { 0.0 } else { value });
            }
        }
        let row =
            u32::try_from(row).map_err(|_| TableError::Limit { row, what: "lines", limit: u64::from(u32::MAX) })?;
        table.file_rows.push(row);
    }
    if table.rows() == 0 { Err(TableError::Empty) } else { Ok(table) }
}

fn header(line: &[u8]) -> Result<Vec<String>, TableError> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let cells = line.split(|&b| b == b',').count();
    let fail = |i: usize, rule: &str| Err(TableError::Header { column: i + 1, rule: rule.to_owned() });
    if cells < 2 {
        return fail(0, "a table has at least one feature and a label");
    }
    if cells > MAX_COLUMNS {
        return fail(MAX_COLUMNS, &format!("a table has at most {MAX_COLUMNS} columns"));
    }
    let mut names = Vec::with_capacity(cells);
    let mut seen = std::collections::BTreeSet::new();
    for (i, cell) in line.split(|&b| b == b',').enumerate() {
        let Ok(name) = std::str::from_utf8(cell) else {
            return fail(i, "the name is not UTF-8");
        };
        let name = name.trim().trim_matches('"').trim();
        if name.is_empty() || name.len() > MAX_COLUMN_NAME_BYTES || name.chars().any(char::is_control) {
            return fail(i, &format!("a name has 1 to {MAX_COLUMN_NAME_BYTES} bytes and no control characters"));
        }
        if name.parse::<f64>().is_ok() {
            return fail(
                i,
                &format!("{name:?} is a number, not a name: the first row must hold the names of the columns"),
            );
        }
        if !seen.insert(name.to_owned()) {
            return fail(i, &format!("{name:?} appears twice"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn trim(cell: &[u8]) -> std::borrow::Cow<'_, str> {
    match String::from_utf8_lossy(cell) {
        std::borrow::Cow::Borrowed(text) => text.trim().trim_matches('"').trim().into(),
        std::borrow::Cow::Owned(text) => text.into(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(text: &str) -> Result<Table, TableError> {
        Table::read(text.as_bytes(), 3)
    }

    #[test]
    fn reads_plain_and_gzip() {
        let text = "\u{feff}\"a\", b ,label\r\n1,2.5,0\r\n\n-0,1e3,2\n";
        let table = read(text).unwrap();
        assert_eq!(table.columns, ["a", "b"]);
        assert_eq!(table.features, [1.0, 2.5, 0.0, 1000.0]);
        assert!(table.features[2].is_sign_positive());
        assert_eq!((table.labels.as_slice(), table.file_rows.as_slice()), (&[0, 2][..], &[2, 4][..]));
        let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        assert_eq!(Table::read(gz.finish().unwrap().as_slice(), 3).unwrap(), table);
        assert_eq!(read("label,x\n1,5\n").unwrap().labels, [1], "the column named label");
        assert_eq!(read("x,y\n5,1\n").unwrap().label, "y", "else the last one");
        let schema = serde_json::to_string(&table.schema(3)).unwrap();
        let expected =
            r#"{"features":[{"name":"a","type":"number"},{"name":"b","type":"number"}],"label":"label","classes":3}"#;
        assert_eq!(schema, expected);
    }

    #[test]
    fn errors_name_row_and_column() {
        let check = |text: &str, message: &str| assert_eq!(read(text).unwrap_err().to_string(), message, "{text:?}");
        check("a,label\n1,0\nabc,0\n", r#"row 3, column a: "abc" is not a number"#);
        check("a,label\nNaN,0\n", r#"row 2, column a: "NaN" is not a finite number"#);
        check("a,label\n1e99,0\n", r#"row 2, column a: "1e99" is not a finite number"#);
        check("a,label\n,0\n", r#"row 2, column a: "" is not a number"#);
        check("a,label\n1,3\n", r#"row 2, column label: "3" is not a class: a whole number below 3"#);
        check("a,label\n1,1.0\n", r#"row 2, column label: "1.0" is not a class: a whole number below 3"#);
        check("a,label\n1\n", "row 2 has 1 cells, the header has 2");
        check("a,a\n", r#"header, column 2: "a" appears twice"#);
        check(
            "1,2\n",
            r#"header, column 1: "1" is a number, not a name: the first row must hold the names of the columns"#,
        );
        check("a\n", "header, column 1: a table has at least one feature and a label");
        check("a,b\n", "the table has no rows");
        check("", "the table has no rows");
        let long = format!("a,label\n{},0\n", "1".repeat(2 << 20));
        assert!(
            read(&long).unwrap_err().to_string().contains("row 2: the table has more than 1048576 bytes in one line")
        );
        let wide = vec!["x"; MAX_COLUMNS + 1].join(",");
        assert!(read(&wide).unwrap_err().to_string().contains("at most 65536 columns"));
    }

    #[test]
    fn a_bomb_is_refused_without_memory() {
        let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gz.write_all(b"a,label\n").unwrap();
        for _ in 0..64 {
            gz.write_all(&vec![b'1'; 1 << 16]).unwrap();
        }
        let error = Table::read(gz.finish().unwrap().as_slice(), 3).unwrap_err();
        assert!(error.to_string().contains("bytes in one line"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), text in "[0-9a,\"\n.e-]{0,60}") {
            let _ = Table::read(bytes.as_slice(), 3);
            let _ = read(&text);
            let _ = read(&format!("a,b\n{text}"));
        }
    }
}
