//! The log that anyone can verify: envelopes, the Merkle tree over them, checkpoints, accounts.
//!
//! Architecture invariant: the ledger knows no noun. It carries statements as bytes.

pub mod account;
pub mod checkpoint;
pub mod envelope;
pub mod merkle;
pub mod proof;
pub mod tile;
pub mod verifier;
pub mod witness;
