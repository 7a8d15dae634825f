//! A witness outside: it cosigns the checkpoints of the logs that it is told to watch, each only if it extends the one
//! before. It learns origins, sizes and roots, and never sees an entry; whoever trusts it needs no other member's word.
//!
//! The protocol is C2SP tlog-witness, the judgement `allmende_core::ledger::witness`. The folder: `witness.key`, `name`,
//! and in `logs/` for each origin the last checkpoint that was cosigned, as the log signed it, and the first one that
//! contradicted it. A checkpoint is durable before its cosignature leaves, so a witness that dies at any instant never
//! cosigns two histories. A folder from a backup could: a witness that lost its folder begins anew, with a new key.

pub mod api;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use allmende_core::digest::{Digest, to_hex};
use allmende_core::id::Origin;
use allmende_core::ledger::checkpoint::{Checkpoint, CheckpointError, MAX_NOTE_BYTES, NoteSignature, SignedCheckpoint};
use allmende_core::ledger::verifier::{Role, VerifierKey};
use allmende_core::ledger::witness::{AddCheckpoint, Refusal, judge};
use allmende_core::signature::SecretKey;
use zeroize::Zeroizing;

use crate::client::store::{StoreError, write_durably};
use crate::clock::Clock;
use crate::faults;
use crate::keyfile::{KeyFileError, load, load_or_create, private_dir, signing_key};

const KEY: &str = "witness.key";
const NAME: &str = "name";
const LOGS: &str = "logs";

/// Why a witness does not run, or does not cosign.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The protocol refuses the checkpoint.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its key or name.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// It has another name already.
    #[error("the key in {dir} signs as {name}, and under that name only", dir = dir.display())]
    OtherName {
        /// The folder.
        dir: PathBuf,
        /// Its name.
        name: Origin,
    },
    /// A key that it was given to watch is no log's.
    #[error("{0} is the key of a witness, not of a log")]
    NotALog(Origin),
    /// Another program serves from this folder.
    #[error("{dir} is in use by another program", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A checkpoint in the folder is none, or another log's.
    #[error("{path}: {source}: do not delete it; begin anew in another folder, with a new key", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// The file system failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint could not be kept: it is not cosigned.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who a witness is.
pub struct Identity {
    /// The one name under which its key signs.
    pub name: Origin,
    key: SecretKey,
}

impl Identity {
    /// The identity in the folder `dir`, made when there is none: `name`, or one made of the key.
    ///
    /// # Errors
    /// [`WitnessError::OtherName`] when it has another name already.
    pub fn open(dir: &Path, name: Option<&Origin>) -> Result<Self, WitnessError> {
        private_dir(dir)?;
        let key = signing_key(&dir.join(KEY))?;
        let path = dir.join(NAME);
        let usual = || format!("witness-{}", to_hex(&key.public().as_bytes()[..4]));
        let made = name.map_or_else(usual, ToString::to_string);
        let text = load_or_create(&path, || Ok(Zeroizing::new(format!("{made}\n"))))?;
        let kept: Origin = text.trim_end().parse().map_err(|_| KeyFileError::Content { path, expected: "a name" })?;
        if name.is_some_and(|name| *name != kept) {
            return Err(WitnessError::OtherName { dir: dir.into(), name: kept });
        }
        Ok(Self { name: kept, key })
    }

    /// By which others verify its cosignatures.
    #[must_use]
    pub fn verifier_key(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), key: self.key.public(), role: Role::Witness }
    }
}

/// What a witness knows of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it cosigned last.
    pub checkpoint: Checkpoint,
    /// The first checkpoint that the log signed in contradiction to what was cosigned.
    pub contradiction: Option<Checkpoint>,
}

/// A witness at work. One for each folder.
pub struct Witness {
    identity: Identity,
    dir: PathBuf,
    logs: Vec<VerifierKey>,
    clock: Clock,
    latest: Mutex<BTreeMap<Origin, Checkpoint>>,
    /// Held open: its lock ends with the process, however it ends.
    _lock: File,
}

impl Witness {
    /// Opens the folder of `identity`, for this program alone, to watch `logs`.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn open(dir: &Path, identity: Identity, logs: Vec<VerifierKey>, clock: Clock) -> Result<Self, WitnessError> {
        if let Some(log) = logs.iter().find(|log| log.role != Role::Log) {
            return Err(WitnessError::NotALog(log.name.clone()));
        }
        let path = dir.join("lock");
        let io = |source| WitnessError::Io { path: path.clone(), source };
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WitnessError::InUse { dir: dir.into() }),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let seen = seen(dir)?;
        let latest = seen.into_iter().map(|s| (s.checkpoint.origin.clone(), s.checkpoint)).collect();
        Ok(Self { identity, dir: dir.into(), logs, clock, latest: Mutex::new(latest), _lock: lock })
    }

    /// Cosigns the checkpoint of `request` if it extends what was cosigned last, which is durable by then.
    ///
    /// # Errors
    /// [`WitnessError::Refused`] as the protocol says; others when the checkpoint cannot be kept.
    pub fn add(&self, request: &AddCheckpoint) -> Result<NoteSignature, WitnessError> {
        let new = &request.checkpoint.checkpoint;
        // Held from the check until the checkpoint is durable: of two requests at once the later one sees the earlier.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let last = latest.get(&new.origin);
        if let Err(refusal) = judge(&self.logs, last, request) {
            drop(latest);
            self.note(request, &refusal);
            return Err(refusal.into());
        }
        if last != Some(new) {
            faults::point("witness.before_write");
            write_durably(&self.path(&new.origin, "checkpoint"), request.checkpoint.to_string().as_bytes())?;
            faults::point("witness.after_write");
            latest.insert(new.origin.clone(), new.clone());
        }
        let now_s = u64::try_from(self.clock.now().0.div_euclid(1_000)).unwrap_or(0);
        Ok(new.cosign(&self.identity.name, &self.identity.key, now_s))
    }

    /// Keeps the first proof that a log forked: with the cosigned checkpoint, two that it signed for one size.
    fn note(&self, request: &AddCheckpoint, refusal: &Refusal) {
        let (origin, size) = (&request.checkpoint.checkpoint.origin, request.checkpoint.checkpoint.size);
        match refusal {
            Refusal::Forked { .. } => {
                tracing::error!(%origin, size, "the log signed another root for a size that was cosigned");
                let path = self.path(origin, "contradiction");
                if !path.exists()
                    && let Err(error) = write_durably(&path, request.checkpoint.to_string().as_bytes())
                {
                    tracing::error!(%error, "the contradiction could not be kept");
                }
            }
            // Anybody can send a wrong proof for a good checkpoint, so this alone proves nothing.
            Refusal::Inconsistent => {
                tracing::warn!(%origin, size, "a checkpoint of the log does not extend the last one");
            }
            refusal => tracing::debug!(%origin, size, %refusal, "refused"),
        }
    }

    fn path(&self, origin: &Origin, what: &str) -> PathBuf {
        path(&self.dir, origin, what)
    }
}

/// Origins are no file names: their digests are.
fn path(dir: &Path, origin: &Origin, what: &str) -> PathBuf {
    dir.join(LOGS).join(format!("{}.{what}", to_hex(&Digest::of(origin.as_str().as_bytes()).0)))
}

/// What the witness of the folder `dir` knows of each log, ordered by origin; also while it runs.
///
/// # Errors
/// [`WitnessError`].
pub fn seen(dir: &Path) -> Result<Vec<Seen>, WitnessError> {
    let folder = dir.join(LOGS);
    let io = |source| WitnessError::Io { path: folder.clone(), source };
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let file = entry.map_err(io)?.path();
        if file.extension().is_none_or(|extension| extension != "checkpoint") {
            continue;
        }
        let Some(checkpoint) = read(&file)? else { continue };
        let belongs = path(dir, &checkpoint.origin, "checkpoint") == file;
        if !belongs {
            let source = CheckpointError::Malformed("it is another log's");
            return Err(WitnessError::Damaged { path: file, source });
        }
        let contradiction = read(&file.with_extension("contradiction"))?;
        all.push(Seen { checkpoint, contradiction });
    }
    all.sort_by(|a, b| a.checkpoint.origin.cmp(&b.checkpoint.origin));
    Ok(all)
}

fn read(path: &Path) -> Result<Option<Checkpoint>, WitnessError> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WitnessError::Io { path: path.into(), source }),
        Ok(text) if text.len() > MAX_NOTE_BYTES => {
            let source = CheckpointError::TooLarge { size_bytes: text.len() };
            Err(WitnessError::Damaged { path: path.into(), source })
        }
        Ok(text) => match SignedCheckpoint::parse(&text) {
            Ok(note) => Ok(Some(note.checkpoint)),
            Err(source) => Err(WitnessError::Damaged { path: path.into(), source }),
        },
    }
}

/// Whether the folder `dir` holds a witness.
///
/// # Errors
/// [`KeyFileError`] when its key may be read by others.
pub fn exists(dir: &Path) -> Result<bool, KeyFileError> {
    Ok(load(&dir.join(KEY))?.is_some())
}
