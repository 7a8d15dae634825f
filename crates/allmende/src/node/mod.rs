//! Members' nodes as the hub sees them: they call, mirror the log, cosign it and fetch their work.

pub mod api;
pub mod outside;
