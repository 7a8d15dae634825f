//! The tables of a dataset: which files they are, and their rows.

mod opened;
mod plan;
mod table;

pub use opened::Opened;
pub use plan::{Config, Format, Split, configs};
pub use table::{Count, Page, Table};
