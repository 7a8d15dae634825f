//! The bodies of the fuzz targets: what must hold for any bytes, one function for each parser.
//!
//! Each returns whether it accepted the input. `fuzz/targets/` runs them under libFuzzer; `crates/allmende/tests/fuzz.rs`
//! runs them as ordinary tests over the seeds, their mutations and arbitrary bytes.

use allmende::mirror::manifest::Manifest;
use allmende::repo::changes::Change;
use allmende::wire::read;
use allmende_core::agreement::lint::lint;
use allmende_core::agreement::prose::render;
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::Language;
use allmende_core::canonical;
use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::proof::Receipt;
use allmende_core::ledger::tile::{Tile, decode_bundle, decode_tile, encode_bundle, encode_tile};
use allmende_core::ledger::verifier::VerifierKey;
use allmende_core::ledger::witness::AddCheckpoint;
use allmende_core::statement::Statement;
use allmende_formats::bundle::{HEAD_BYTES, Heads, MAGIC, Section, read_files, read_refs, write_files, write_refs};
use allmende_formats::parquet::{self, Assembler, Column, PageKind, page_header};
use allmende_formats::pickle::{self, Look, Walk, zip};
use allmende_formats::rows::{Error, MAX_COLUMNS, Schema, csv, json};
use allmende_formats::safetensors::{
    Difference, MAX_FOREIGN_HEADER_BYTES, Summary, compare, parse_header, parse_header_within, parse_index,
};
use allmende_formats::xet::shard::{self, Ending, Entry, Shard, ShardReader, write_shard};
use allmende_formats::xet::tree::xorb_hash;
use allmende_formats::xet::xorb::{self, MAX_PACKED_BYTES, Unpacker, Validator, Xorb, read_chunk_header, read_footer};
use allmende_train::table::Table;

/// What a target does with its input; whether it accepted it.
pub type Body = fn(&[u8]) -> bool;

/// All targets by name: each has a file in `targets/` and a folder in `seeds/`.
pub const TARGETS: &[(&str, Body)] = &[
    ("add_checkpoint", add_checkpoint),
    ("bundle", bundle),
    ("canonical", canonical_json),
    ("checkpoint", checkpoint),
    ("csv", csv_rows),
    ("hub_commit", hub_commit),
    ("lfs_batch", lfs_batch),
    ("git_push", git_push),
    ("json_lines", json_lines),
    ("parquet", parquet_file),
    ("pickle", pickle_file),
    ("record", record),
    ("receipt", receipt),
    ("repository_bundle", repository_bundle),
    ("safetensors", safetensors),
    ("safetensors_index", safetensors_index),
    ("statement", statement),
    ("table", table),
    ("terms_canonical", terms_canonical),
    ("terms_toml", terms_toml),
    ("tile", tile),
    ("tile_path", tile_path),
    ("verifier_key", verifier_key),
    ("xet_chunk", xet_chunk),
    ("xet_shard", xet_shard),
    ("xet_xorb", xet_xorb),
];

/// The body of the target `name`.
///
/// # Panics
/// When there is no such target, or the input breaks what must hold.
#[allow(dead_code, reason = "the targets call it")]
pub fn run(name: &str, data: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of this name");
    body(data);
}

/// What is read is its own canonical form.
fn canonical_json(data: &[u8]) -> bool {
    let Ok(value) = canonical::from_bytes::<serde_json::Value>(data) else { return false };
    assert_eq!(canonical::to_bytes(&value).expect("canonical"), data);
    true
}

/// A bundle's lists have one spelling each, and its manifest is opened without a panic.
fn repository_bundle(data: &[u8]) -> bool {
    let Some(mut rest) = data.strip_prefix(&MAGIC) else { return false };
    let mut heads = Heads::default();
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let Ok(head) = heads.next(*head) else { return false };
        let Some((bytes, after)) = usize::try_from(head.bytes).ok().and_then(|n| after.split_at_checked(n)) else {
            return false;
        };
        rest = after;
        match head.section {
            Section::Manifest if Manifest::open(bytes).is_err() => return false,
            Section::Refs => {
                let Ok(refs) = read_refs(bytes) else { return false };
                assert_eq!(write_refs(&refs), bytes);
            }
            Section::Files => {
                let Ok(files) = read_files(bytes) else { return false };
                assert_eq!(write_files(&files), bytes);
            }
            Section::End => return rest.is_empty(),
            Section::Manifest | Section::Pack | Section::Xorb => {}
        }
    }
    false
}

/// A leaf has one spelling, and opening it never panics.
fn record(data: &[u8]) -> bool {
    let Ok(record) = Record::from_bytes(data) else { return false };
    assert_eq!(record.to_bytes().expect("fits"), data);
    if let Ok(opened) = Statement::open(&record.envelope) {
        assert_eq!(record.payload_digest(), Ok(opened.digest));
    }
    true
}

/// A statement has one encoding.
fn statement(data: &[u8]) -> bool {
    let Ok(statement) = Statement::from_payload(data) else { return false };
    assert_eq!(statement.to_payload().expect("was read"), data);
    true
}

/// Whatever terms are accepted can be shown in both languages and judged.
fn readable(terms: &Terms) {
    for language in [Language::En, Language::Zh] {
        assert!(!render(terms, language).is_empty());
    }
    let _ = lint(terms);
}

fn terms_toml(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(terms) = Terms::from_toml(text) else { return false };
    let again = Terms::from_canonical(terms.canonical()).expect("what is signed can be read");
    assert!(again == terms && again.digest() == terms.digest());
    readable(&terms);
    true
}

fn terms_canonical(data: &[u8]) -> bool {
    let Ok(terms) = Terms::from_canonical(data) else { return false };
    assert_eq!(terms.canonical(), data);
    readable(&terms);
    true
}

fn checkpoint(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(note) = SignedCheckpoint::parse(text) else { return false };
    let written = note.to_string();
    assert_eq!(SignedCheckpoint::parse(&written).as_ref(), Ok(&note));
    true
}

/// What a witness is sent has one spelling.
fn add_checkpoint(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(request) = AddCheckpoint::parse(text) else { return false };
    assert_eq!(AddCheckpoint::parse(&request.to_string()).as_ref(), Ok(&request));
    true
}

fn verifier_key(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(key) = text.parse::<VerifierKey>() else { return false };
    assert_eq!(key.to_string().parse::<VerifierKey>().as_ref(), Ok(&key));
    true
}

fn receipt(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(receipt) = Receipt::parse(text) else { return false };
    assert_eq!(Receipt::parse(&receipt.to_string()).as_ref(), Ok(&receipt));
    true
}

fn tile_path(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(tile) = text.parse::<Tile>() else { return false };
    assert_eq!(tile.to_string(), text, "a tile has one path");
    true
}

/// The first two bytes are the width asked for.
fn sized(data: &[u8]) -> Option<(u16, &[u8])> {
    data.split_first_chunk::<2>().map(|(width, rest)| (u16::from_be_bytes(*width), rest))
}

fn tile(data: &[u8]) -> bool {
    let Some((width, bytes)) = sized(data) else { return false };
    let Ok(hashes) = decode_tile(bytes, width) else { return false };
    assert_eq!(encode_tile(&hashes).expect("was read"), bytes);
    true
}

fn bundle(data: &[u8]) -> bool {
    let Some((width, bytes)) = sized(data) else { return false };
    let Ok(entries) = decode_bundle(bytes, width) else { return false };
    assert_eq!(entries.len(), usize::from(width));
    assert_eq!(encode_bundle(&entries).expect("was read"), bytes);
    true
}

/// Every tensor of an accepted header lies inside the file, and they fill it without gap or overlap.
fn safetensors(data: &[u8]) -> bool {
    let file_bytes = data.len() as u64;
    let Ok(layout) = parse_header(data, file_bytes) else { return false };
    assert_eq!(layout.total_bytes, file_bytes);
    let mut at = 0;
    for tensor in &layout.tensors {
        assert_eq!(tensor.start, at, "{}", tensor.name);
        assert!(tensor.end >= tensor.start);
        at = tensor.end;
    }
    assert_eq!(at, layout.payload_bytes());
    assert_eq!(parse_header_within(data, file_bytes, MAX_FOREIGN_HEADER_BYTES).as_ref(), Ok(&layout));
    let mut summary = Summary::default();
    summary.add(&layout);
    assert_eq!(summary.tensors, layout.tensors.len() as u64);
    assert!(compare(&layout.tensors, &layout.tensors).iter().all(|d| matches!(d, Difference::Alike(..))));
    true
}

/// An index names each of its files once, and all of them lie beside it.
fn safetensors_index(data: &[u8]) -> bool {
    let Ok(index) = parse_index(data) else { return false };
    assert!(index.shards.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(index.shards.iter().all(|name| !name.contains('/')) && index.shards.len() as u64 <= index.tensors);
    true
}

/// What runs code does so by any name, and whatever stands behind it; a list of an archive reads the same in any pieces.
fn pickle_file(data: &[u8]) -> bool {
    let size = data.len() as u64;
    let names = |piece: usize| -> Result<Vec<String>, zip::Error> {
        let range = zip::directory(data, size)?;
        let (mut found, mut names) = (Vec::new(), zip::Names::default());
        for piece in data[range.start as usize..range.end as usize].chunks(piece) {
            names.push(piece, |name| {
                found.push(name.to_owned());
                true
            })?;
        }
        names.finish().map(|()| found)
    };
    assert_eq!(names(data.len().max(1)).ok(), names(7).ok());
    let runs = pickle::walk(data, size) == Walk::Runs;
    if runs {
        let longer = [data, b"\0\0\0"].concat();
        assert_eq!(pickle::walk(&longer, size + 3), Walk::Runs);
        assert!(matches!(pickle::look("a.txt", data, size), Look::Runs(_)));
    }
    runs
}

/// Every row of an accepted table has all its numbers, finite, and a class that exists.
fn table(data: &[u8]) -> bool {
    const CLASSES: u32 = 10;
    let Ok(table) = Table::read(data, CLASSES) else { return false };
    assert_eq!(table.features.len(), table.rows() * table.columns.len());
    assert_eq!((table.labels.len(), table.file_rows.len()), (table.rows(), table.rows()));
    assert!(table.features.iter().all(|x| x.is_finite()));
    assert!(table.labels.iter().all(|label| *label < CLASSES));
    true
}

/// Rows do not depend on where the bytes are cut, and no row has more columns than may be.
fn csv_rows(data: &[u8]) -> bool {
    let read = |size: usize| {
        let (mut reader, mut rows) = (csv::Reader::new(b','), Vec::new());
        let mut all = true;
        for piece in data.chunks(size) {
            all = all && reader.push(piece, |row| keep(&mut rows, row))?;
        }
        let names = reader.finish(|row| keep(&mut rows, row))?;
        Ok::<_, Error>((names, rows))
    };
    let whole = read(data.len().max(1));
    if data.len() < 4_096 {
        assert_eq!(read(1).ok(), whole.clone().ok(), "cut into bytes");
        assert_eq!(read(7).ok(), whole.clone().ok(), "cut into pieces");
    }
    let Ok((names, rows)) = whole else { return false };
    assert!(names.is_none_or(|names| names.len() <= MAX_COLUMNS));
    assert!(rows.iter().all(|row| row.len() <= MAX_COLUMNS));
    true
}

fn keep<T>(rows: &mut Vec<T>, row: T) -> bool {
    rows.push(row);
    true
}

/// Rows do not depend on where the bytes are cut, and their schemas join in any order.
fn json_lines(data: &[u8]) -> bool {
    let read = |size: usize| {
        let (mut reader, mut rows) = (json::Reader::default(), Vec::new());
        for piece in data.chunks(size) {
            reader.push(piece, |row| keep(&mut rows, row))?;
        }
        reader.finish(|row| keep(&mut rows, row))?;
        Ok::<_, Error>(rows)
    };
    let whole = read(data.len().max(1));
    if data.len() < 4_096 {
        assert_eq!(read(1).ok(), whole.clone().ok(), "cut into bytes");
        assert_eq!(read(7).ok(), whole.clone().ok(), "cut into pieces");
    }
    let Ok(rows) = whole else { return false };
    let schema = rows.iter().map(Schema::of).fold(Schema::default(), Schema::join);
    assert!(schema.fields.len() <= rows.iter().map(serde_json::Map::len).sum());
    true
}

/// What is read of a file lies in it, and no more rows come than were asked for.
fn parquet_file(data: &[u8]) -> bool {
    const ROWS: u64 = 20;
    let size = data.len() as u64;
    let cut = |range: std::ops::Range<u64>| &data[range.start as usize..range.end as usize];
    let tail = &data[data.len().saturating_sub(parquet::TAIL_BYTES as usize)..];
    let Ok(range) = parquet::footer_range(tail, size) else { return false };
    let Ok(meta) = parquet::parse_footer(cut(range), size) else { return false };
    let mut whole = true;
    for group in &meta.groups {
        for (skip, want) in [(0, ROWS.min(group.rows)), (group.rows.saturating_sub(ROWS), ROWS.min(group.rows))] {
            let mut columns = Vec::new();
            for (index, chunk) in group.chunks.iter().enumerate() {
                let Some(column) = Column::new(&meta.root, index, chunk.codec) else { return false };
                let mut assembler = Assembler::new(column, skip, want);
                whole &= pages(cut(chunk.range.clone()), &mut assembler);
                columns.push(assembler);
            }
            for _ in 0..want {
                let cells = columns.iter_mut().map(|column| column.next_row().unwrap_or_default()).collect();
                let row = meta.root.row(cells);
                assert!(row.len() <= meta.root.children().len());
            }
        }
    }
    whole
}

/// Reads the pages of a column until its rows are there; whether all could be read.
fn pages(bytes: &[u8], assembler: &mut Assembler) -> bool {
    let mut at = 0;
    while at < bytes.len() && !assembler.is_full() {
        let Ok((header, used)) = page_header(&bytes[at..]) else { return false };
        let begin = at + used;
        let Some(page) = begin.checked_add(header.packed_bytes).and_then(|end| bytes.get(begin..end)) else {
            return false;
        };
        at = begin + header.packed_bytes;
        let read = match header.kind {
            PageKind::Dictionary => assembler.dictionary(&header, page),
            PageKind::Other => Ok(()),
            _ if assembler.passes_over(&header) => Ok(()),
            _ => assembler.data(&header, page),
        };
        if read.is_err() {
            return false;
        }
    }
    true
}

/// The header of a chunk has one spelling, and nothing in it is out of bounds.
fn xet_chunk(data: &[u8]) -> bool {
    let Some(header) = data.first_chunk::<8>() else { return false };
    let Ok((scheme, packed, unpacked)) = read_chunk_header(*header) else { return false };
    assert!((1..=MAX_PACKED_BYTES).contains(&packed) && (1..=1 << 17).contains(&unpacked));
    let again = [packed << 8, unpacked << 8 | usize::from(scheme.code())].map(|word| (word as u32).to_le_bytes());
    assert_eq!(again.as_flattened(), header);
    true
}

/// What is accepted in one piece is accepted byte for byte, unpacks to its hashes, and has the footer it should have.
fn xet_xorb(data: &[u8]) -> bool {
    let read = |piece: usize| -> Result<Xorb, xorb::Error> {
        let mut validator = Validator::new();
        data.chunks(piece).try_for_each(|piece| validator.push(piece))?;
        validator.finish(None)
    };
    let whole = read(data.len().max(1));
    assert_eq!(read(7), whole, "the slices do not matter");
    let Ok(xorb) = whole else { return false };
    assert_eq!(xorb.content_bytes + xorb.footer_bytes, data.len() as u64);
    assert_eq!(xorb.hash, xorb_hash(xorb.chunks.iter().map(|c| (c.hash, u64::from(c.unpacked_bytes)))));
    let mut unpacked = 0;
    let sink = |content: &[u8]| {
        unpacked += content.len() as u64;
        Ok::<_, xorb::Error>(())
    };
    Unpacker::new().unpack_all(&xorb.chunks, data, sink).expect("was accepted");
    assert_eq!(unpacked, xorb.unpacked_bytes);
    if xorb.footer_bytes > 0 && data[xorb.content_bytes as usize + 7] == 1 {
        assert_eq!(read_footer(data, data.len() as u64), Ok(xorb));
    }
    true
}

/// What is accepted in one piece is accepted byte for byte, and what was read can be written and read again.
fn xet_shard(data: &[u8]) -> bool {
    let read = |data: &[u8], piece: usize| -> Result<(Shard, Vec<Entry>), shard::Error> {
        let (mut reader, mut entries) = (ShardReader::new(), Vec::new());
        for piece in data.chunks(piece) {
            reader.push(piece, |entry| {
                entries.push(entry);
                Ok::<_, shard::Error>(())
            })?;
        }
        Ok((reader.finish()?, entries))
    };
    let whole = read(data, data.len().max(1));
    assert_eq!(read(data, 7), whole, "the slices do not matter");
    let Ok((shard, entries)) = whole else { return false };
    let (mut files, mut xorbs) = (Vec::new(), Vec::new());
    for entry in &entries {
        match entry {
            Entry::File(file) => files.push(file.clone()),
            Entry::Xorb(xorb) => xorbs.push(xorb.clone()),
        }
    }
    assert_eq!((files.len() as u64, xorbs.len() as u64), (shard.files, shard.xorbs));
    let written = write_shard(&files, &xorbs, &Ending::Sections).expect("was read");
    let (again, same) = read(&written, written.len()).expect("was written");
    assert_eq!((again.section_bytes, same), (shard.section_bytes, entries));
    true
}

/// However the bytes of a commit are cut on their way, it says the same, and no path in it leads out of the repository.
fn hub_commit(data: &[u8]) -> bool {
    let whole = read::commit(data, data.len());
    let pieces = read::commit(data, 7);
    assert_eq!(format!("{:?}", whole.as_ref().ok()), format!("{:?}", pieces.ok()), "the pieces do not matter");
    let Ok((message, changes)) = whole else { return false };
    assert!(!message.trim().is_empty());
    for change in &changes {
        let (Change::Put { path, .. } | Change::PutLarge { path, .. } | Change::Delete { path, .. }) = change;
        assert!(path.as_str().split('/').all(|part| !matches!(part, "" | "." | "..")), "{path}");
        assert!(!path.as_str().to_lowercase().split('/').any(|part| part == ".git"), "{path}");
    }
    true
}

/// A question for large files names digests or nothing, and not more than a hub answers.
fn lfs_batch(data: &[u8]) -> bool {
    let Ok(objects) = read::large_files(data) else { return false };
    assert!(objects.len() <= 1_000 && objects.len() <= data.len());
    true
}

/// A list of refs ends before the pack, has few of them, and is the same when it is written again.
fn git_push(data: &[u8]) -> bool {
    let Ok((changes, pack)) = read::push(data) else { return false };
    assert!(data.ends_with(pack) && changes.len() <= 1_000);
    let mut again = Vec::new();
    for (i, change) in changes.iter().enumerate() {
        let capabilities = if i == 0 { "\0report-status" } else { "" };
        let line = format!("{} {} {}{capabilities}\n", change.old, change.new, change.name);
        // Longer than a line may be with the capabilities of ours.
        if line.len() > 65_516 {
            return true;
        }
        again.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes());
    }
    again.extend_from_slice(b"0000rest");
    let (same, rest) = read::push(&again).expect("was read");
    assert_eq!((same, rest), (changes, &b"rest"[..]));
    true
}
