//! Aggregations: the recorded updates folded again, with the same rules as the hub's, to the very same bytes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use allmende_core::digest::{Digest, Hasher};
use allmende_core::run::aggregate::{AggregateError, SliceAggregator};
use allmende_core::run::plan::{ModelSpec, Outer, Plan};
use allmende_formats::safetensors::{self, Layout, MAX_HEADER_BYTES, canonical_header, parse_header};

use super::replay::{Replayed, Round};
use super::{Finding, NotChecked, Rounds};

/// Bytes of one slice: memory is a few of these, however large the model.
const SLICE_BYTES: u64 = 1 << 20;
/// Missing pieces named one by one in a report.
const MAX_NAMED: usize = 16;

/// Bytes that can be read from any place on.
pub trait BlobReader: Read + Seek {}
impl<T: Read + Seek> BlobReader for T {}

/// Kept bytes, found by their SHA-256.
pub trait Blobs {
    /// The bytes of this digest, if they are kept. They are hashed before they are believed.
    ///
    /// # Errors
    /// When that cannot be said.
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn BlobReader + '_>>>;
}

/// A folder laid out as the hub lays out its own: `sha256/ab/ab…`, or plainly by 64 hexadecimal digits.
#[derive(Debug, Clone)]
pub struct DirBlobs {
    root: PathBuf,
}

impl DirBlobs {
    /// The folder `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Blobs for DirBlobs {
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn BlobReader + '_>>> {
        let hex = digest.hex();
        for path in [self.root.join("sha256").join(&hex[..2]).join(&hex), self.root.join(&hex)] {
            match File::open(path) {
                Ok(file) => return Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Folds every recorded round again whose bytes are kept.
pub(super) fn recompute(
    replayed: &Replayed,
    blobs: Option<&dyn Blobs>,
    not_checked: &mut Vec<NotChecked>,
) -> Result<Rounds, Finding> {
    let mut rounds = Rounds { recorded: replayed.rounds.len() as u64, recomputed: 0 };
    let Some(blobs) = blobs else {
        if rounds.recorded > 0 {
            let what = format!("{} aggregations", rounds.recorded);
            not_checked.push(NotChecked::new(what, "the bytes of updates and models were not given"));
        }
        return Ok(rounds);
    };
    let mut judge = Judge { blobs, hashed: BTreeSet::new() };
    let mut unnamed = 0_u64;
    for round in &replayed.rounds {
        let Some(run) = replayed.state.runs().get(&round.run) else { continue };
        match judge.round(round, &run.plan)? {
            None => rounds.recomputed += 1,
            Some(missing) if not_checked.len() < MAX_NAMED => {
                let what = format!("round {} of {}, parties {:?}", round.round, round.run, round.coalition);
                not_checked.push(NotChecked::new(what, format!("{missing} is not kept")));
            }
            Some(_) => unnamed += 1,
        }
    }
    if unnamed > 0 {
        not_checked.push(NotChecked::new(format!("{unnamed} more rounds"), "bytes of theirs are not kept"));
    }
    Ok(rounds)
}

struct Judge<'a> {
    blobs: &'a dyn Blobs,
    /// Digests whose bytes were hashed and found right.
    hashed: BTreeSet<Digest>,
}

/// A model's or an update's file, its digest and shape checked.
struct Payload<'a> {
    reader: Box<dyn BlobReader + 'a>,
    header_bytes: u64,
}

enum Opened<'a> {
    Kept(Payload<'a>),
    Missing(String),
}

/// Takes what is kept out of an [`Opened`], or ends the round with what is missing.
macro_rules! kept {
    ($opened:expr) => {
        match $opened {
            Opened::Kept(payload) => payload,
            Opened::Missing(what) => return Ok(Some(what)),
        }
    };
}

fn unreadable(what: &str, source: io::Error) -> Finding {
    Finding::Unreadable { path: what.to_owned(), source: source.into() }
}

impl<'a> Judge<'a> {
    /// Opens the bytes of `digest`, which must be a file of `model`'s shape.
    fn open(&mut self, entry: u64, what: String, digest: &Digest, model: &ModelSpec) -> Result<Opened<'a>, Finding> {
        let blobs = self.blobs;
        let named = format!("{what} {digest}");
        let Some(mut reader) = blobs.open(digest).map_err(|e| unreadable(&named, e))? else {
            return Ok(Opened::Missing(named));
        };
        if !self.hashed.contains(digest) {
            let got = hash(&mut *reader).map_err(|e| unreadable(&named, e))?;
            if got != *digest {
                return Err(Finding::Blob { entry, what, digest: *digest, got });
            }
            self.hashed.insert(*digest);
        }
        let layout = layout(&mut *reader).map_err(|e| unreadable(&named, e))?;
        let reason = match layout {
            Ok(layout) => match shape_fault(&layout, model) {
                None => return Ok(Opened::Kept(Payload { reader, header_bytes: layout.header_bytes })),
                Some(reason) => reason,
            },
            Err(error) => error.to_string(),
        };
        Err(Finding::Model { entry, what, digest: *digest, reason })
    }

    /// Folds one round; gives what is missing for it, if something is.
    fn round(&mut self, round: &Round, plan: &Plan) -> Result<Option<String>, Finding> {
        let Round { entry, .. } = *round;
        let mut base = kept!(self.open(entry, "the model before the round".into(), &round.base, &plan.model)?);
        let mut velocity = match &round.velocity_before {
            None => None,
            Some(digest) => Some(kept!(self.open(entry, "the outer state".into(), digest, &plan.model)?)),
        };
        let mut updates = Vec::with_capacity(round.counted.len());
        for counted in &round.counted {
            let party = plan.slots.get(counted.slot as usize).map(|s| s.party.as_str()).unwrap_or_default();
            updates.push(kept!(self.open(entry, format!("the update of {party}"), &counted.update, &plan.model)?));
        }
        let weights: Vec<u64> = round.counted.iter().map(|c| c.weight).collect();
        let wrong = |source: AggregateError| Finding::Aggregation {
            entry,
            run: round.run.to_string(),
            round: round.round,
            source,
        };
        let mut fold = SliceAggregator::new(&plan.outer, &weights).map_err(wrong)?;
        let header = canonical_header(&plan.model.tensors()).map_err(|e| Finding::Model {
            entry,
            what: "the next model".into(),
            digest: round.model,
            reason: e.to_string(),
        })?;
        let mut next = Compared::new(self.kept_for_comparison(&round.model)?, &header);
        let mut next_velocity = Compared::new(None, &header);
        let total = plan.model.parameters() * 4;
        let mut at = 0;
        while at < total {
            let length = SLICE_BYTES.min(total - at);
            fold.begin(&base.slice(at, length)?).map_err(wrong)?;
            for update in &mut updates {
                fold.fold(&update.slice(at, length)?).map_err(wrong)?;
            }
            let before = velocity.as_mut().map(|v| v.slice(at, length)).transpose()?.unwrap_or_default();
            let slice = fold.finish(&before).map_err(wrong)?;
            next.push(&slice.model)?;
            next_velocity.push(&slice.velocity)?;
            at += length;
        }
        let differs = |what, stated: Digest, computed: Digest, offset: Option<u64>| Finding::WrongModel {
            entry,
            run: round.run.to_string(),
            round: round.round,
            what,
            stated,
            computed,
            offset: offset.map(|o| format!("; they differ from byte {o} on")).unwrap_or_default(),
        };
        let (computed, offset) = next.finish();
        if computed != round.model {
            return Err(differs("model", round.model, computed, offset));
        }
        if let Some(stated) = round.velocity.filter(|_| !matches!(plan.outer, Outer::Average)) {
            let (computed, _) = next_velocity.finish();
            if computed != stated {
                return Err(differs("outer state", stated, computed, None));
            }
        }
        Ok(None)
    }

    /// The recorded result itself, if it is kept, only to say where it differs.
    fn kept_for_comparison(&self, digest: &Digest) -> Result<Option<Box<dyn BlobReader + 'a>>, Finding> {
        self.blobs.open(digest).map_err(|e| unreadable(&digest.to_string(), e))
    }
}

impl Payload<'_> {
    fn slice(&mut self, at: u64, length: u64) -> Result<Vec<u8>, Finding> {
        let read = || -> io::Result<Vec<u8>> {
            self.reader.seek(SeekFrom::Start(self.header_bytes + at))?;
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            self.reader.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        // The shape was checked, so only the disk can fail.
        let mut read = read;
        read().map_err(|e| unreadable("kept bytes", e))
    }
}

/// Hashes what is computed, and finds the first byte in which it differs from what is kept.
struct Compared<'a> {
    hasher: Hasher,
    kept: Option<Box<dyn BlobReader + 'a>>,
    at: u64,
    differs_at: Option<u64>,
}

impl<'a> Compared<'a> {
    fn new(kept: Option<Box<dyn BlobReader + 'a>>, header: &[u8]) -> Self {
        let mut new = Self { hasher: Hasher::default(), kept, at: 0, differs_at: None };
        // Comparing is only for the message: what cannot be read is not compared.
        let _ = new.push(header);
        new
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Finding> {
        self.hasher.update(bytes);
        if let (Some(kept), None) = (&mut self.kept, self.differs_at) {
            let mut other = Vec::with_capacity(bytes.len());
            kept.take(bytes.len() as u64).read_to_end(&mut other).map_err(|e| unreadable("kept model", e))?;
            if other != bytes {
                let same = bytes.iter().zip(&other).take_while(|(a, b)| a == b).count();
                self.differs_at = Some(self.at + same as u64);
            }
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn finish(self) -> (Digest, Option<u64>) {
        (self.hasher.finish(), self.differs_at)
    }
}

fn hash(reader: &mut dyn BlobReader) -> io::Result<Digest> {
    reader.seek(SeekFrom::Start(0))?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn layout(reader: &mut dyn BlobReader) -> io::Result<Result<Layout, safetensors::Error>> {
    let file_bytes = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut prefix = Vec::new();
    reader.take(MAX_HEADER_BYTES + safetensors::LENGTH_BYTES).read_to_end(&mut prefix)?;
    Ok(parse_header(&prefix, file_bytes))
}

/// What keeps a file from being folded slice by slice with others of this shape.
fn shape_fault(layout: &Layout, model: &ModelSpec) -> Option<String> {
    let expected = model.tensors();
    if layout.tensors.len() != expected.len() {
        return Some(format!("{} tensors, not {}", layout.tensors.len(), expected.len()));
    }
    let fault = layout.tensors.iter().zip(&expected).find(|(found, (name, shape))| {
        let dims = found.shape.iter().copied().eq(shape.iter().map(|&d| d as u64));
        found.name != *name || !dims || found.dtype != safetensors::Dtype::F32
    });
    fault
        .map(|(found, (name, shape))| format!("tensor {} {:?} where {name} {shape:?} belongs", found.name, found.shape))
}
