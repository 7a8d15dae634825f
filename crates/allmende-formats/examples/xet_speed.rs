//! Prints how fast one core cuts, hashes, packs and checks Xet's formats, in MB/s (10⁶ bytes of content).
//!
//! `cargo run --release -p allmende-formats --example xet_speed`
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use allmende_formats::xet::chunk_hash;
use allmende_formats::xet::chunker::chunks;
use allmende_formats::xet::tree::TreeHasher;
use allmende_formats::xet::xorb::{Unpacker, Validator, XorbWriter};

/// Most content of a xorb.
const BYTES: usize = 64 << 20;
/// What a server would read from a socket at once.
const PIECE_BYTES: usize = 256 << 10;
const ROUNDS: u32 = 5;

/// The best of some rounds.
fn time(what: &str, mut work: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    println!("{what:<44}{:>8.0} MB/s", BYTES as f64 / 1e6 / best.fold(f64::INFINITY, f64::min));
}

/// SplitMix64.
fn noise() -> impl Iterator<Item = u64> {
    let mut state = 1_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 31)
    })
}

fn main() {
    let random: Vec<u8> = noise().take(BYTES / 8).flat_map(u64::to_le_bytes).collect();
    // Weights: single floats around zero, of which the upper bytes repeat.
    let weights: Vec<u8> =
        noise().take(BYTES / 4).flat_map(|n| ((n as u32 as f32 / u32::MAX as f32 - 0.5) * 0.1).to_le_bytes()).collect();
    let words = ["model ", "data ", "of the ", "chunk\n", "and ", "0.5, ", "members ", "{\"a\": 1} "];
    let mut text: Vec<u8> = noise().take(BYTES / 4).flat_map(|n| words[(n % 8) as usize].bytes()).collect();
    text.truncate(BYTES);

    for (name, content) in [("random", &random), ("weights (f32)", &weights), ("text", &text)] {
        println!("{name}");
        time("  chunking", || {
            black_box(chunks(content).count());
        });
        time("  chunking and hashing, with the file's hash", || {
            let mut tree = TreeHasher::new();
            chunks(content).for_each(|chunk| tree.push(chunk_hash(chunk), chunk.len() as u64));
            black_box(tree.file_hash());
        });
        let hashed: Vec<_> = chunks(content).map(|chunk| (chunk_hash(chunk), chunk)).collect();
        let write = || {
            let mut writer = XorbWriter::new();
            hashed.iter().for_each(|(hash, chunk)| writer.push(*hash, chunk).unwrap());
            writer.finish(true).unwrap()
        };
        time("  writing a xorb from hashed chunks", || {
            black_box(write());
        });
        let (xorb, bytes) = write();
        time("  checking a xorb", || {
            let mut validator = Validator::new();
            bytes.chunks(PIECE_BYTES).for_each(|piece| validator.push(piece).unwrap());
            assert_eq!(validator.finish(Some(&xorb.hash)).unwrap(), xorb);
        });
        time("  unpacking all of it", || {
            let all = &bytes[..xorb.content_bytes as usize];
            let sink = |content: &[u8]| -> Result<(), allmende_formats::xet::xorb::Error> {
                black_box(content);
                Ok(())
            };
            Unpacker::new().unpack_all(&xorb.chunks, all, sink).unwrap();
        });
        println!("  {} chunks, packed to {:.1} %", xorb.chunks.len(), bytes.len() as f64 * 100.0 / BYTES as f64);
    }
}
