//! Tables of text, aligned by what the terminal shows: a Chinese character takes two cells.

use unicode_width::UnicodeWidthStr as _;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    heads: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a head that begins with `>` is aligned to the right.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        let head = |text: &&str| match text.strip_prefix('>') {
            Some(text) => (text.to_owned(), Align::Right),
            None => ((*text).to_owned(), Align::Left),
        };
        Self { heads: heads.iter().map(head).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, cells beyond the columns are left out.
    pub fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell.to_string())).collect());
    }

    /// Whether there is no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, each line ended; for a table without rows `none`.
    #[must_use]
    pub fn render_or(&self, none: &str) -> String {
        if self.is_empty() { format!("{none}\n") } else { self.to_string() }
    }
}

/// Others choose names and titles that stand in tables: no character of theirs may move the cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let heads: Vec<String> = self.heads.iter().map(|(text, _)| text.clone()).collect();
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| {
                let rows = self.rows.iter().map(|row| cell(row, column).width());
                rows.max().unwrap_or(0).max(heads[column].width())
            })
            .collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (column, width) in widths.iter().enumerate() {
                let text = cell(row, column);
                let fill = " ".repeat(width - text.width());
                let cell = if self.heads[column].1 == Align::Right { fill + &text } else { text + &fill };
                line.push_str(if column == 0 { "" } else { "  " });
                line.push_str(&cell);
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Names and values, one to a line, values aligned.
#[must_use]
pub fn fields<V: ToString>(pairs: impl IntoIterator<Item = (&'static str, V)>) -> String {
    let pairs: Vec<(&str, String)> = pairs.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    let width = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let line =
        |(name, value): &(&str, String)| format!("{name}{}  {}\n", " ".repeat(width - name.width()), plain(value));
    pairs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_cells() {
        let mut table = Table::new(&["party", ">rows"]);
        table.row(["north", "7"]);
        table.row(["北方", "1234"]);
        table.row(["a\u{1b}[31mb", "1"]);
        assert_eq!(table.to_string(), "party    rows\nnorth       7\n北方     1234\na [31mb     1\n");
        assert_eq!(Table::new(&["a"]).render_or("none"), "none\n");
        assert_eq!(fields([("a", "1"), ("名称", "2")]), "a     1\n名称  2\n");
    }
}
