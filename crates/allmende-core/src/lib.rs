//! The rules of Allmende.
//!
//! Everything here is a pure function of its arguments: no async, SQL, HTTP, clock, randomness, file or environment.
//! Time, randomness and identity come in as values, so the hub, a member's node and the offline verifier judge alike.
//!
//! Architecture invariant: this crate knows no transport and no storage.
#![forbid(unsafe_code)]

pub mod agreement;
pub mod amount;
pub mod canonical;
pub mod collaboration;
pub mod contribution;
pub mod decimal;
pub mod digest;
pub mod id;
pub mod ledger;
pub mod licence;
pub mod party;
pub mod run;
pub mod settlement;
pub mod signature;
pub mod state;
pub mod statement;
pub mod time;
