//! Tests of the reducer, the engine and the ledger as a whole: a deterministic world, stories in it, every refusal,
//! properties, a simulator and a log that must replay for ever.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod engine;
mod golden;
mod licences;
mod properties;
mod refusals;
mod repositories;
mod simulation;
mod story;
mod story_changes;
mod world;
