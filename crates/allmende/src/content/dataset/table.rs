//! The rows of a part of a dataset, read as far as they are asked for.

use allmende_formats::parquet::{self, Assembler, Column, Metadata, PageKind, page_header};
use allmende_formats::rows::{self, Kind, Schema, csv, json};
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::plan::{Format, Split};
use crate::app::App;
use crate::content::ContentError;
use crate::content::file::File;
use crate::content::store::{self, What};
use crate::git::{GitRepo, Oid};
use crate::repo::Repo;

/// Rows from which the types of columns are learned.
const LEARNED_ROWS: usize = 1_000;
/// Bytes from which they are learned at most.
const LEARNED_BYTES: u64 = 4 << 20;
/// Most bytes that are gone through for one answer.
pub const MAX_SCAN_BYTES: u64 = 256 << 20;
/// Most bytes of the values in one answer.
const MAX_ANSWER_BYTES: u64 = 8 << 20;
/// Largest file that is one list of JSON.
const MAX_LIST_BYTES: u64 = 8 << 20;
/// Bytes of a column that are read at once, unless a page is longer.
const WINDOW_BYTES: u64 = 256 << 10;
/// Tables that are read at once, in the whole program.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// How many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// As many, or as many as were gone through.
    pub rows: u64,
    /// Whether there are more.
    pub partial: bool,
}

/// Some rows, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows, in their order.
    pub rows: Vec<Map<String, Value>>,
    /// Whether there would be more of what was asked for, but for a bound.
    pub partial: bool,
    /// Their bytes, about as many as their JSON has.
    pub size_bytes: u64,
}

/// A part of a dataset, open.
pub struct Table<'a> {
    app: &'a App,
    repo: &'a Repo,
    format: Format,
    files: Vec<File>,
}

/// A row as it lies in a file.
enum Row {
    Texts(Vec<String>),
    Object(Map<String, Value>),
}

fn not_understood(file: &File, error: impl std::fmt::Display) -> ContentError {
    ContentError::NotUnderstood(format!("{}: {error}", file.path))
}

/// Bytes of a value, about as many as its JSON has.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(values) => 2 + values.iter().map(|value| weight(value) + 1).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(key, value)| key.len() + 4 + weight(value)).sum::<usize>(),
        _ => 8,
    }
}

/// Bytes of a row, as [`weight`] counts them.
fn size_of(row: &Map<String, Value>) -> u64 {
    row.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>() as u64
}

/// What a text of a table means, by the kind of its column.
fn typed(text: String, kind: &Kind) -> Value {
    let number = || match kind {
        Kind::Int64 => text.trim().parse::<i64>().ok().map(Value::from),
        Kind::Float64 => text.trim().parse::<f64>().ok().map(Value::from),
        Kind::Bool => Some(text.trim().eq_ignore_ascii_case("true").into()),
        _ => None,
    };
    match number() {
        _ if text.is_empty() => Value::Null,
        Some(value) => value,
        None => text.into(),
    }
}

fn kind_of_text(text: &str) -> Kind {
    let trimmed = text.trim();
    match () {
        () if text.is_empty() => Kind::Null,
        () if trimmed.parse::<i64>().is_ok() => Kind::Int64,
        () if trimmed.parse::<f64>().is_ok() => Kind::Float64,
        () if matches!(trimmed, "true" | "false" | "True" | "False") => Kind::Bool,
        () => Kind::Text,
    }
}

/// A column as `datasets` describes it.
fn feature(kind: &Kind) -> Value {
    let value = |dtype: &str| serde_json::json!({ "dtype": dtype, "_type": "Value" });
    match kind {
        Kind::Null => value("null"),
        Kind::Bool => value("bool"),
        Kind::Int64 => value("int64"),
        Kind::Float64 => value("float64"),
        // What is of several kinds is shown as it stands.
        Kind::Text | Kind::Mixed => value("string"),
        Kind::Named(name) => value(name),
        Kind::List(inner) => serde_json::json!({ "feature": feature(inner), "_type": "List" }),
        Kind::Struct(schema) => {
            schema.fields.iter().map(|f| (f.name.clone(), feature(&f.kind))).collect::<Map<_, _>>().into()
        }
    }
}

impl<'a> Table<'a> {
    /// Opens the files of a part at `commit`.
    ///
    /// # Errors
    /// [`ContentError`] when one of them is not held.
    pub async fn open(
        app: &'a App,
        repo: &'a Repo,
        git: &GitRepo,
        commit: Oid,
        split: &Split,
    ) -> Result<Self, ContentError> {
        let mut files = Vec::with_capacity(split.files.len());
        for path in &split.files {
            files.push(File::at(app, repo, git, commit, path).await?);
        }
        Ok(Self { app, repo, format: split.format, files })
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Goes through the rows of a file of text, at most `most` bytes of it, until `each` has enough. Says whether it came to
    /// the file's end.
    async fn scan(
        &self,
        file: &File,
        most: u64,
        mut each: impl FnMut(&[String], Row) -> bool,
    ) -> Result<bool, ContentError> {
        let failed = |error: rows::Error| not_understood(file, error);
        if self.format == Format::Json {
            let head = file.bytes(self.app, 0..64).await?;
            if head.iter().find(|c| !c.is_ascii_whitespace()) == Some(&b'[') {
                return self.list(file, |row| each(&[], Row::Object(row))).await;
            }
        }
        let mut stream = file.stream(self.app, 0..most).await?;
        let whole = most >= file.size;
        match self.format {
            Format::Json => {
                let mut reader = json::Reader::default();
                while let Some(bytes) = stream.try_next().await? {
                    if !reader.push(&bytes, |row| each(&[], Row::Object(row))).map_err(failed)? {
                        return Ok(false);
                    }
                }
                if whole {
                    reader.finish(|row| each(&[], Row::Object(row))).map_err(failed)?;
                }
            }
            Format::Csv | Format::Tsv => {
                let mut reader = csv::Reader::new(if self.format == Format::Csv { b',' } else { b'\t' });
                let mut names = Vec::new();
                while let Some(bytes) = stream.try_next().await? {
                    // Few rows at once are in memory beside their bytes.
                    for piece in bytes.chunks(1 << 16) {
                        let mut some = Vec::new();
                        reader
                            .push(piece, |row| {
                                some.push(row);
                                true
                            })
                            .map_err(failed)?;
                        if names.is_empty() {
                            names = reader.names().unwrap_or_default().to_vec();
                        }
                        if !some.into_iter().all(|row| each(&names, Row::Texts(row))) {
                            return Ok(false);
                        }
                    }
                }
                if whole {
                    let mut last = None;
                    let all = reader.finish(|row| {
                        last = Some(row);
                        true
                    });
                    let names = all.map_err(failed)?.unwrap_or_default();
                    if let Some(row) = last {
                        each(&names, Row::Texts(row));
                    }
                }
            }
            Format::Parquet => {}
        }
        Ok(whole)
    }

    async fn list(&self, file: &File, mut each: impl FnMut(Map<String, Value>) -> bool) -> Result<bool, ContentError> {
        if file.size > MAX_LIST_BYTES {
            let text = format!("one list of more than {MAX_LIST_BYTES} bytes: write an object on each line");
            return Err(not_understood(file, text));
        }
        let bytes = file.bytes(self.app, 0..file.size).await?;
        let all: Vec<Map<String, Value>> = serde_json::from_slice(&bytes).map_err(|e| not_understood(file, e))?;
        Ok(all.into_iter().all(&mut each))
    }

    /// The end of a parquet file.
    async fn metadata(&self, file: &File) -> Result<Metadata, ContentError> {
        let failed = |error| not_understood(file, error);
        let tail = file.bytes(self.app, file.size.saturating_sub(parquet::TAIL_BYTES)..file.size).await?;
        let range = parquet::footer_range(&tail, file.size).map_err(failed)?;
        let bytes = file.bytes(self.app, range).await?;
        parquet::parse_footer(&bytes, file.size).map_err(failed)
    }

    /// The kinds of the columns of a table of text, learned from its first rows.
    async fn learned(&self) -> Result<Schema, ContentError> {
        let Some(first) = self.files.first() else { return Ok(Schema::default()) };
        let (mut schema, mut left) = (Schema::default(), LEARNED_ROWS);
        let each = |names: &[String], row: Row| {
            let of = match row {
                Row::Object(map) => Schema::of(&map),
                Row::Texts(texts) => Schema {
                    fields: names
                        .iter()
                        .zip(&texts)
                        .map(|(name, text)| rows::Field { name: name.clone(), kind: kind_of_text(text) })
                        .collect(),
                },
            };
            schema = std::mem::take(&mut schema).join(of);
            left -= 1;
            left > 0
        };
        self.scan(first, LEARNED_BYTES.min(first.size), each).await?;
        Ok(schema)
    }

    /// The columns: names, and what they hold as `datasets` describes it.
    ///
    /// # Errors
    /// [`ContentError::NotUnderstood`].
    pub async fn features(&self) -> Result<Vec<(String, Value)>, ContentError> {
        let _permit = AT_ONCE.acquire().await;
        if self.format != Format::Parquet {
            let schema = self.learned().await?;
            return Ok(schema.fields.into_iter().map(|f| (f.name, feature(&f.kind))).collect());
        }
        let Some(first) = self.files.first() else { return Ok(Vec::new()) };
        let meta = self.metadata(first).await?;
        let said = |name: &str| meta.features.as_ref().and_then(|all| all.get(name)).cloned();
        let columns = meta.root.children().iter();
        Ok(columns.map(|node| (node.name.clone(), said(&node.name).unwrap_or_else(|| node.feature()))).collect())
    }

    /// How many rows each file has. What was gone through once is known from then on.
    async fn counts(&self) -> Result<Vec<Count>, ContentError> {
        let (mut counts, mut budget) = (Vec::with_capacity(self.files.len()), MAX_SCAN_BYTES);
        for file in &self.files {
            let known = store::get(&mut *self.app.db.read().await?, self.repo, file.blob, What::Rows).await?;
            if let Some(count) = known.and_then(|text| serde_json::from_str(&text).ok()) {
                counts.push(count);
                continue;
            }
            let mut count = Count::default();
            if self.format == Format::Parquet {
                count.rows = self.metadata(file).await?.rows;
            } else {
                let most = budget.min(file.size);
                budget -= most;
                let each = |_: &[String], _| {
                    count.rows += 1;
                    true
                };
                count.partial = !self.scan(file, most, each).await?;
                if count.partial && most < MAX_SCAN_BYTES.min(file.size) {
                    // Another time there may be more of the budget left for it.
                    counts.push(count);
                    continue;
                }
            }
            let text = serde_json::to_string(&count).map_err(|e| not_understood(file, e))?;
            store::keep(self.app, self.repo, &[(file.blob, text)], What::Rows).await?;
            counts.push(count);
        }
        Ok(counts)
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// [`ContentError::NotUnderstood`].
    pub async fn count(&self) -> Result<Count, ContentError> {
        let _permit = AT_ONCE.acquire().await;
        let counts = self.counts().await?;
        let sum = |sum: Count, one: &Count| Count { rows: sum.rows + one.rows, partial: sum.partial || one.partial };
        Ok(counts.iter().fold(Count::default(), sum))
    }

    /// At most `length` rows after the first `offset`.
    ///
    /// # Errors
    /// [`ContentError::NotUnderstood`].
    pub async fn page(&self, offset: u64, length: u64) -> Result<Page, ContentError> {
        let _permit = AT_ONCE.acquire().await;
        let counts = self.counts().await?;
        let schema = if self.format == Format::Parquet { Schema::default() } else { self.learned().await? };
        let mut page = Page { rows: Vec::new(), partial: false, size_bytes: 0 };
        let (mut before, end) = (0_u64, offset.saturating_add(length));
        for (file, count) in self.files.iter().zip(&counts) {
            let (from, to) = (offset.max(before), end.min(before.saturating_add(count.rows)));
            if from < to {
                let (skip, want) = (from - before, to - from);
                let rows = match self.format {
                    Format::Parquet => self.parquet(file, skip, want).await?,
                    _ => self.texts(file, skip, want, &schema).await?,
                };
                for row in rows {
                    let size = size_of(&row);
                    if page.size_bytes + size > MAX_ANSWER_BYTES && !page.rows.is_empty() {
                        page.partial = true;
                        return Ok(page);
                    }
                    page.size_bytes += size;
                    page.rows.push(row);
                }
            }
            before = before.saturating_add(count.rows);
            if count.partial {
                // What comes after cannot be numbered.
                page.partial = end > before;
                break;
            }
        }
        Ok(page)
    }

    async fn texts(
        &self,
        file: &File,
        skip: u64,
        want: u64,
        schema: &Schema,
    ) -> Result<Vec<Map<String, Value>>, ContentError> {
        let (mut at, mut found, mut weighed) = (0, Vec::new(), 0);
        let each = |names: &[String], row: Row| {
            at += 1;
            if at <= skip {
                return true;
            }
            let kind = |name: &str| schema.fields.iter().find(|f| f.name == name).map_or(&Kind::Text, |f| &f.kind);
            let row = match row {
                Row::Object(map) => map,
                Row::Texts(texts) => {
                    names.iter().zip(texts).map(|(name, text)| (name.clone(), typed(text, kind(name)))).collect()
                }
            };
            weighed += size_of(&row);
            found.push(row);
            // One more than fits, so that it is seen that there is more.
            (found.len() as u64) < want && weighed <= MAX_ANSWER_BYTES
        };
        self.scan(file, MAX_SCAN_BYTES.min(file.size), each).await?;
        Ok(found)
    }

    async fn parquet(&self, file: &File, skip: u64, want: u64) -> Result<Vec<Map<String, Value>>, ContentError> {
        let failed = |error| not_understood(file, error);
        let meta = self.metadata(file).await?;
        let (mut found, mut before, mut budget) = (Vec::new(), 0, MAX_SCAN_BYTES / 4);
        for group in &meta.groups {
            let (first, last) = (skip.max(before), skip.saturating_add(want).min(before + group.rows));
            before += group.rows;
            if first >= last {
                continue;
            }
            let mut columns = Vec::with_capacity(group.chunks.len());
            for (index, chunk) in group.chunks.iter().enumerate() {
                let missing = || failed(parquet::Error::Damaged("a column beyond the schema"));
                let column = Column::new(&meta.root, index, chunk.codec).ok_or_else(missing)?;
                let assembler = Assembler::new(column, first + group.rows - before, last - first);
                let window = Window { app: self.app, file, end: chunk.range.end, start: 0, bytes: Vec::new() };
                columns.push(pages(window, chunk.range.start, assembler, &mut budget).await?);
            }
            for _ in first..last {
                let cells = columns.iter_mut().map(|column| column.next_row().unwrap_or_default()).collect();
                found.push(meta.root.row(cells));
            }
        }
        Ok(found)
    }
}

/// The bytes of a column that were read last.
struct Window<'a> {
    app: &'a App,
    file: &'a File,
    /// Where the column ends.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `length` bytes from `at` on, fewer where the column ends.
    async fn get(&mut self, at: u64, length: u64, budget: &mut u64) -> Result<&[u8], ContentError> {
        let stop = at.saturating_add(length).min(self.end);
        let held = self.start..self.start + self.bytes.len() as u64;
        if at < held.start || stop > held.end {
            let to = stop.max(at.saturating_add(WINDOW_BYTES).min(self.end));
            let text = "the rows that are asked for lie in more bytes than are looked at";
            *budget = budget.checked_sub(to - at).ok_or_else(|| not_understood(self.file, text))?;
            (self.start, self.bytes) = (at, self.file.bytes(self.app, at..to).await?);
        }
        let (from, to) = (at - self.start, stop.saturating_sub(self.start));
        let cut = || not_understood(self.file, "it is shorter than it says");
        self.bytes.get(from as usize..to as usize).ok_or_else(cut)
    }
}

/// Reads the pages of a column until its rows are there.
async fn pages(
    mut window: Window<'_>,
    mut at: u64,
    mut assembler: Assembler,
    budget: &mut u64,
) -> Result<Assembler, ContentError> {
    while at < window.end && !assembler.is_full() {
        let file = window.file;
        let head = window.get(at, parquet::MAX_HEADER_BYTES, budget).await?;
        let (header, used) = page_header(head).map_err(|e| not_understood(file, e))?;
        at += used as u64;
        let begin = at;
        at += header.packed_bytes as u64;
        let is_data = matches!(header.kind, PageKind::Data | PageKind::DataV2 { .. });
        if header.kind == PageKind::Other || (is_data && assembler.passes_over(&header)) {
            continue;
        }
        let packed = window.get(begin, header.packed_bytes as u64, budget).await?.to_vec();
        // Unpacking is work, not waiting.
        let read = tokio::task::spawn_blocking(move || {
            let done = match header.kind {
                PageKind::Dictionary => assembler.dictionary(&header, &packed),
                _ => assembler.data(&header, &packed),
            };
            done.map(|()| assembler)
        });
        let read = read.await.map_err(|e| not_understood(file, e))?;
        assembler = read.map_err(|e| not_understood(file, e))?;
    }
    Ok(assembler)
}
