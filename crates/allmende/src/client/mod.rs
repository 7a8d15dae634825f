//! Talks to a hub, and believes it nothing that can be checked: a mirrored log, signed checkpoints, pinned keys.
//!
//! - [`http`]: one typed method for each route, within limits;
//! - [`mirror`]: a verified copy of one log, in memory or on disk;
//! - [`submit`]: from a statement's body to its proven place in the log;
//! - [`upload`]: an update on its way, resumable.
//!
//! Architecture invariant: nothing here knows the terminal, the home folder or the environment, and every byte that leaves
//! passes the [`http::Gate`] first, where there is one.

pub mod bundles;
pub mod error;
pub mod home;
pub mod http;
pub mod mirror;
pub mod repositories;
pub mod routes;
pub mod store;
pub mod submit;
pub mod tokens;
pub mod upload;
