//! Fuzzes the body `safetensors_index`.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("safetensors_index", data));
