//! The storage formats of Xet: files are cut into chunks, chunks are packed into xorbs, and shards say which chunks of
//! which xorbs make which file.
//!
//! Everything here is written from the public specification (draft-denis-xet-03) and compared with the reference
//! (`xet-core-structures` and `xet-data` 1.8.0, Apache-2.0), not taken from it.

mod gear;
mod lz4;

pub mod chunker;
pub mod hash;
pub mod reconstruction;
pub mod scheme;
pub mod shard;
pub mod tree;
pub mod wire;
pub mod xorb;

pub use hash::{XetHash, chunk_hash};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
