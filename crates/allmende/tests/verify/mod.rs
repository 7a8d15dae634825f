//! The offline judge against honest logs and against every way of cheating that we can think of.

mod judging;
pub mod world;
