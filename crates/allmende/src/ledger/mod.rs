//! The hub's side of the log.
//!
//! Architecture invariant: the ledger knows no noun. It stores bytes and digests; key look-ups are passed in.

pub mod store;

pub use store::LedgerError;
