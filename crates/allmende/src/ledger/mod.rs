//! The hub's side of the log.
//!
//! Architecture invariant: the ledger knows no noun. It appends what the reducer accepts; what follows from an entry and
//! what is projected into tables are passed in.

pub mod bell;
pub mod fold;
mod follow;
mod heard;
pub mod hold;
pub mod log;
pub mod logs;
pub mod read;
pub mod room;
pub mod store;

pub use heard::Heard;
pub use log::{AppendError, Appended, Item, Log};
pub use logs::Logs;
pub use store::LedgerError;
