//! Parsers of foreign bytes: pure, bounded, and without a panic on any input.
//!
//! Architecture invariant: this crate knows none of Allmende's nouns, and performs no input or output.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod parquet;
pub mod pickle;
pub mod rows;
pub mod safetensors;
pub mod xet;
