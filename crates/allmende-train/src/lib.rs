//! Compute only: tables, models, optimizers, local rounds, metrics.
//!
//! Everything is a function of its arguments: no terminal, home directory, environment, clock or network. A caller that
//! wants to show progress or to stop passes a callback. Training repeats bit for bit on the same build and instruction
//! set: every random choice comes from a named [`stream`], and one thread does all sums in a fixed order.
//!
//! Where the rest goes:
//! - another model (a text classifier, say) is a variant of [`ModelSpec`](allmende_core::run::plan::ModelSpec), a forward
//!   pass beside `network`, and a reader of its rows beside [`table`]; rounds, optimizers and metrics stay as they are;
//! - another optimizer is a rule in [`optimize`];
//! - a member's own program never comes in here: the node runs it behind its job bridge, with the same base model in and
//!   the same update out as [`local::train_round`], and [`model::Model::load`] judges what it wrote;
//! - explanation and compression work on a [`model::Model`], beside [`evaluate`].
//!
//! Architecture invariant: this crate opens no file and no socket, and knows no party, hub or node.
#![forbid(unsafe_code)]

pub mod evaluate;
pub mod fit;
pub mod local;
pub mod metrics;
pub mod model;
mod network;
pub mod optimize;
pub mod prepare;
pub mod stream;
pub mod table;
