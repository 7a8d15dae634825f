//! Rows of tables as they stand in text: comma-separated values and lines of JSON, read as they arrive.

pub mod csv;
pub mod json;
mod schema;

pub use schema::{Field, Kind, Schema};

/// Largest row, in bytes.
pub const MAX_ROW_BYTES: usize = 4 << 20;
/// Most columns.
pub const MAX_COLUMNS: usize = 4_096;

/// Why bytes are no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A row is longer than [`MAX_ROW_BYTES`].
    #[error("a row has more than {MAX_ROW_BYTES} bytes")]
    RowTooLong,
    /// There are more than [`MAX_COLUMNS`].
    #[error("the table has more than {MAX_COLUMNS} columns")]
    TooManyColumns,
    /// A row has another number of values than the first line names.
    #[error("row {row} has {found} values where the first line names {expected}")]
    Ragged {
        /// Which row, from 0.
        row: u64,
        /// How many names the first line has.
        expected: usize,
        /// How many values the row has.
        found: usize,
    },
    /// It is no UTF-8.
    #[error("row {0} is no UTF-8")]
    Text(u64),
    /// A line is no JSON object.
    #[error("row {row} is no JSON object: {said}")]
    Json {
        /// Which row, from 0.
        row: u64,
        /// Why.
        said: String,
    },
    /// A quoted value does not end.
    #[error("a quoted value does not end")]
    Open,
}
