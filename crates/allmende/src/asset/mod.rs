//! Assets on the hub: only what their owners share openly has bytes here.

pub mod api;
