//! The fuzz targets as ordinary tests: over their seeds, over what mutations make of those, and over arbitrary bytes.

use std::path::PathBuf;

use allmende::mirror::manifest::{Bytes, Manifest, SourceRepository};
use allmende_core::agreement::draft::{DraftInputs, DraftParty, template};
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{Language, Purpose};
use allmende_core::canonical;
use allmende_core::id::{Origin, PartyId};
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::merkle::{leaf_hash, node_hash};
use allmende_core::ledger::proof::Receipt;
use allmende_core::ledger::tile::{encode_bundle, encode_tile};
use allmende_core::ledger::verifier::{Role, VerifierKey};
use allmende_core::ledger::witness::AddCheckpoint;
use allmende_core::signature::SecretKey;
use allmende_core::statement::{AgreementProposed, Header, KeyClass, Signer, Statement};
use allmende_core::time::Timestamp;
use allmende_formats::bundle::{BundleFile, BundleRef, Head, MAGIC, Part, Place, Section, write_files, write_refs};
use allmende_formats::safetensors::write_f32;
use allmende_formats::xet::chunk_hash;
use allmende_formats::xet::shard::{ChunkInfo, Ending, FileInfo, Segment, XorbInfo, write_shard};
use allmende_formats::xet::xorb::XorbWriter;
use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../../../fuzz/bodies.rs"]
mod bodies;

pub use bodies::TARGETS;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name)
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder(name)).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn origin() -> Origin {
    "hub.example/handwriting".parse().unwrap()
}

fn terms_toml() -> String {
    let party = |(seed, id): (u8, &str)| DraftParty {
        id: id.parse().unwrap(),
        key: key(seed).public(),
        signatory: "director".to_owned(),
        assets: vec![format!("{id}/digits").parse().unwrap()],
    };
    template(&DraftInputs {
        title: "Handwriting".to_owned(),
        collaboration: "handwriting".parse().unwrap(),
        origin: origin(),
        hub_key: key(9).public(),
        starts: "2026-12-01".parse().unwrap(),
        ends: "2027-11-30".parse().unwrap(),
        offer_expires: "2026-12-31".parse().unwrap(),
        currency: "EUR".to_owned(),
        language: Language::En,
        purpose: vec![Purpose::Research],
        parties: [(1, "north"), (2, "east"), (3, "west")].map(party).to_vec(),
        reference: Some("north/reference".parse().unwrap()),
        min_parties: 3,
        coordinator: None,
    })
}

fn record() -> Record {
    let party: PartyId = "north".parse().unwrap();
    let header = Header {
        origin: origin(),
        collaboration: Some("handwriting".parse().unwrap()),
        agreement: None,
        by: Signer { party, class: KeyClass::Governance },
        seq: 0,
        previous: None,
        claimed_at: crate::stores::NOW,
    };
    let terms = Terms::from_toml(&terms_toml()).unwrap();
    let envelope = Statement { header, body: AgreementProposed { terms }.into() }.seal(&key(1)).unwrap();
    Record { arrived_at: Timestamp(crate::stores::NOW.0 + 5), envelope }
}

fn note(leaves: &[Vec<u8>]) -> SignedCheckpoint {
    let root = node_hash(&leaf_hash(&leaves[0]), &leaf_hash(&leaves[1]));
    SignedCheckpoint::sign(Checkpoint { origin: origin(), size: 2, root }, &origin(), &key(9))
}

fn repository_bundle() -> Vec<u8> {
    let refs = [BundleRef { name: "refs/heads/main".to_owned(), oid: "1".repeat(40) }];
    let parts = [Place::Xorb(chunk_hash(b"x")), Place::File(chunk_hash(b"f"))];
    let parts = parts.map(|place| Part { place, first: 3, chunks: 4 }).to_vec();
    let files = write_files(&[BundleFile { hash: chunk_hash(b"h"), sha256: [7; 32], bytes: 9, parts }]);
    let (refs, pack) = (write_refs(&refs), b"PACK".to_vec());
    let manifest = Manifest {
        format: 1,
        hub: "hub.example".to_owned(),
        repository: SourceRepository { id: "1".to_owned(), kind: "model".to_owned(), name: "north/m".to_owned() },
        made_at: crate::stores::NOW,
        whole: true,
        since: Vec::new(),
        refs: Bytes::of(&refs),
        pack: Bytes::of(&pack),
        files: Bytes::of(&files),
        large_files: 1,
        large_bytes: 9,
        xorbs: Vec::new(),
    };
    let mut out = MAGIC.to_vec();
    let manifest = manifest.seal(&key(9)).unwrap();
    let sections = [Section::Manifest, Section::Refs, Section::Pack, Section::Files, Section::End];
    for (section, bytes) in sections.into_iter().zip([manifest, refs, pack, files, Vec::new()]) {
        out.extend(Head { section, bytes: bytes.len() as u64 }.to_bytes());
        out.extend(bytes);
    }
    out
}

/// An input that the target accepts.
fn good(name: &str) -> Vec<u8> {
    let leaves = [record().to_bytes().unwrap(), b"{}".to_vec()];
    let two = |bytes: Vec<u8>| [vec![0, 2], bytes].concat();
    match name {
        "add_checkpoint" => {
            let proof = vec![leaf_hash(&leaves[1])];
            AddCheckpoint { old_size: 1, proof, checkpoint: note(&leaves) }.to_string().into_bytes()
        }
        "bundle" => two(encode_bundle(&leaves).unwrap()),
        "canonical" => canonical::to_bytes(&serde_json::json!({ "a": [1, true, null], "ä": "x\n", "b": {} })).unwrap(),
        "checkpoint" => note(&leaves).to_string().into_bytes(),
        "csv" => "n,\"a \"\"b\"\", c\",word\n1,\"x\ny\",ä\r\n2,,\"z\"\n".as_bytes().to_vec(),
        "json_lines" => {
            br#"{"a": 1, "b": ["x", null], "c": {"d": true}}

{"a": 2.5, "\u00e4": "\ud83d\ude00"}
{"a": -1}"#
            .to_vec()
        }
        "parquet" => include_bytes!("../../allmende-formats/testdata/lz4_delta.parquet").to_vec(),
        "git_push" => {
            let (zero, one) = ("0".repeat(40), "1".repeat(40));
            let first = format!("{zero} {one} refs/heads/main\0 report-status side-band-64k agent=git/2.47");
            let lines = [first, format!("{one} {zero} refs/tags/v1\n")];
            let lines: String = lines.iter().map(|line| format!("{:04x}{line}", line.len() + 4)).collect();
            format!("{lines}0000PACK").into_bytes()
        }
        "hub_commit" => [
            serde_json::json!({ "key": "header", "value": { "summary": "words", "description": "more" } }),
            serde_json::json!({ "key": "file", "value": { "path": "a/b.txt", "content": "eA==", "encoding": "base64" } }),
            serde_json::json!({ "key": "lfsFile", "value": { "path": "c.bin", "algo": "sha256", "oid": "ab".repeat(32) } }),
            serde_json::json!({ "key": "deletedFile", "value": { "path": "d" } }),
            serde_json::json!({ "key": "deletedFolder", "value": { "path": "e/" } }),
        ]
        .map(|line| line.to_string())
        .join("\n")
        .into_bytes(),
        "lfs_batch" => serde_json::json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
            "objects": [{ "oid": "ab".repeat(32), "size": 5 }, { "oid": "x", "size": 0 }],
        })
        .to_string()
        .into_bytes(),
        "pickle" => b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00aq\x02K\x01s.".to_vec(),
        "record" => leaves[0].clone(),
        "receipt" => Receipt {
            entry: Some(b"{}".to_vec()),
            index: 1,
            hashes: vec![leaf_hash(&leaves[0])],
            checkpoint: note(&leaves),
        }
        .to_string()
        .into_bytes(),
        "repository_bundle" => repository_bundle(),
        "safetensors" => {
            write_f32(&[("a".to_owned(), vec![2, 2]), ("b".to_owned(), vec![1])], &[0.0, 1.0, -1.0, 2.5, 3.0]).unwrap()
        }
        "safetensors_index" => {
            br#"{"metadata":{},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#.to_vec()
        }
        "statement" => record().envelope.payload_bytes().unwrap(),
        "table" => b"x,y,label\n1,2.5,0\n-3,4e-2,9\n".to_vec(),
        "terms_canonical" => Terms::from_toml(&terms_toml()).unwrap().canonical().to_vec(),
        "terms_toml" => terms_toml().into_bytes(),
        "tile" => two(encode_tile(&leaves.map(|l| leaf_hash(&l))).unwrap()),
        "tile_path" => b"tile/entries/x001/x234/067.p/3".to_vec(),
        "verifier_key" => {
            let key = VerifierKey { name: origin(), key: key(9).public(), role: Role::Witness };
            key.to_string().into_bytes()
        }
        "xet_chunk" => b"\0\x05\0\0\x01\x07\0\0".to_vec(),
        "xet_shard" => {
            let hash = |text: &str| chunk_hash(text.as_bytes());
            let chunk = ChunkInfo { hash: hash("c"), byte_offset: 0, unpacked_bytes: 9, offered: true };
            let xorb = XorbInfo { hash: hash("x"), chunks: vec![chunk], bytes_in_xorb: 9, bytes_on_disk: 0 };
            let range_hash = Some(hash("r"));
            let segment = Segment { xorb: hash("x"), unpacked_bytes: 9, chunk_start: 0, chunk_end: 1, range_hash };
            let file = FileInfo { hash: hash("f"), segments: vec![segment], sha256: Some([7; 32]) };
            let ending = Ending::Footer { chunk_key: Some([5; 32]), created_s: 1, expires_s: 2, tables: true };
            write_shard(&[file], &[xorb], &ending).unwrap()
        }
        "xet_xorb" => {
            let mut writer = XorbWriter::new();
            for content in [b"words and words ".repeat(9), b"x".to_vec()] {
                writer.push(chunk_hash(&content), &content).unwrap();
            }
            writer.finish(true).unwrap().1
        }
        other => panic!("no seed for {other}"),
    }
}

#[test]
fn the_seeds_are_accepted() {
    for (name, body) in TARGETS {
        let path = folder(name).join("good");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::create_dir_all(folder(name)).unwrap();
            std::fs::write(&path, good(name)).unwrap();
        }
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(kept == good(name), "{}: run with UPDATE_SNAPSHOTS=1", path.display());
        assert!(body(&kept), "{name} refuses its own seed");
    }
}

/// A small change to an input.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Put(Index, u8),
    Cut(Index, Index),
    Repeat(Index, Index),
    End(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, 1 << bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Put(at, byte)),
        any::<(Index, Index)>().prop_map(|(a, b)| Mutation::Cut(a, b)),
        any::<(Index, Index)>().prop_map(|(a, b)| Mutation::Repeat(a, b)),
        any::<Index>().prop_map(Mutation::End),
    ]
}

fn mutate(data: &mut Vec<u8>, mutation: &Mutation) {
    if data.is_empty() {
        return;
    }
    let between = |a: &Index, b: &Index| {
        let (a, b) = (a.index(data.len()), b.index(data.len()));
        a.min(b)..a.max(b)
    };
    match mutation {
        Mutation::Flip(at, bits) => {
            let at = at.index(data.len());
            data[at] ^= bits;
        }
        Mutation::Put(at, byte) => data.insert(at.index(data.len()), *byte),
        Mutation::Cut(a, b) => drop(data.drain(between(a, b))),
        Mutation::Repeat(a, b) => {
            let range = between(a, b);
            let copy = data[range.clone()].to_vec();
            data.splice(range.start..range.start, copy);
        }
        Mutation::End(at) => data.truncate(at.index(data.len())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_seeds_break_nothing(pick: Index, mutations in prop::collection::vec(mutation(), 1..6)) {
        for (name, body) in TARGETS {
            let mut data = pick.get(&seeds(name)).clone();
            mutations.iter().for_each(|m| mutate(&mut data, m));
            body(&data);
        }
    }

    #[test]
    fn arbitrary_bytes_break_nothing(data in prop::collection::vec(any::<u8>(), 0..600)) {
        for (_, body) in TARGETS {
            body(&data);
        }
    }
}
