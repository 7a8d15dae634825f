//! Fuzzes the body `repository_bundle`.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("repository_bundle", data));
