//! Parquet files, as far as it takes to show their rows: <https://parquet.apache.org/docs/file-format/>.
//!
//! Pure and bounded where the usual readers believe the sizes that a file names: a page that says it unfolds to two
//! gigabytes is refused before anything is allocated. The encodings and codecs are those that writers use by default; what
//! is beyond them is named and refused.

mod assemble;
mod encoding;
mod meta;
mod page;
mod schema;
mod snappy;
mod thrift;

pub use assemble::{Assembler, Cell};
pub use meta::{Chunk, Codec, Metadata, RowGroup, TAIL_BYTES, footer_range, parse_footer};
pub use page::{Column, MAX_HEADER_BYTES, MAX_PAGE_BYTES, PageHeader, PageKind, page_header};
pub use schema::{Leaf, Logical, Node, Physical, Repetition};

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin and end as a parquet file does.
    #[error("it is no parquet file")]
    NotParquet,
    /// It is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// Something in it is cut off, or says what cannot be.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// More bytes are needed to read on.
    #[error("more bytes are needed")]
    Incomplete,
    /// Larger than what is looked at.
    #[error("it is too large to be shown: {0}")]
    TooLarge(&'static str),
    /// Well-formed, and not read here.
    #[error("it uses what is not read here: {0}")]
    Unsupported(String),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
