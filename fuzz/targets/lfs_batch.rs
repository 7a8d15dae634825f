//! Fuzzes the body `lfs_batch`.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("lfs_batch", data));
