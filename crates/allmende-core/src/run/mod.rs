//! What work on members' nodes is, and how its rounds proceed.

pub mod aggregate;
pub mod engine;
pub mod offer;
pub mod plan;
