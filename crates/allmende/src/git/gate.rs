//! The gate of a repository: the one path through which its refs are moved, and which is closed before a lock is taken from
//! whoever may still hold it.
//!
//! Refs are moved by git, under a lock that is a file, and the lock of a dead call has to be removed by somebody. A call that
//! is only stopped looks just as dead. Were its lock simply removed, it could wake up when another call has taken a lock of the
//! same name, rename that one to the ref, and report as done what is nowhere. Several processes of a hub, on several machines,
//! may move the refs of one repository, so no lock in memory helps.
//!
//! Therefore a call that moves refs is given the repository by the path `gates/<number>`, a symbolic link to
//! `gates/open.<number>`, which is one to the repository itself. Whoever takes a lock over renames the latter first, to a name
//! that nobody else knows. From that instant every path that earlier calls use leads nowhere: nothing that they do reaches the
//! repository, however late they wake up. Then the dead locks are removed, by the path that is known here alone, so that also
//! this can be taken over; and the link gets the next number, at which others go on. A rename is atomic: of several who close a
//! gate one does. The links by number stay: git makes folders that it misses, and where a link stands it can make none.
//!
//! Nothing of this is asked of whoever reads, and a move costs one look into a folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{GitError, GitRepo};

/// The folder with the links, in the folder of the repository.
const FOLDER: &str = "gates";
/// How the name of the link to the repository begins. There is always exactly one.
const OPEN: &str = "open.";
/// How long locks may take to be removed: whoever closed a gate for longer has died over it.
const CLEANING: Duration = Duration::from_secs(10);
/// How often is looked whether a closed gate opens again.
const LOOK: Duration = Duration::from_millis(20);
/// Deepest that a ref's name goes.
const MAX_DEPTH: usize = 110;

/// A gate that was open when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate(u64);

/// What stands in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// No gate was ever made.
    None,
    /// This one is open.
    Open(u64),
    /// None is open: somebody removes locks, under this name, before the one of this number opens.
    Closed(u64, String),
}

/// What the link to the repository is called while the gate of this number is open.
fn name(number: u64) -> String {
    format!("{OPEN}{number}")
}

/// What it is called while its locks are removed, before the gate of this number opens: no two are called so.
fn name_of_own(number: u64) -> std::io::Result<String> {
    Ok(format!("{OPEN}{number}.{}", random()?))
}

/// The standing that the name of a link says.
fn read_name(name: &str) -> Option<Standing> {
    let number = name.strip_prefix(OPEN)?;
    match number.split_once('.') {
        None => number.parse().ok().map(Standing::Open),
        Some((number, _)) => number.parse().ok().map(|number| Standing::Closed(number, name.to_owned())),
    }
}

fn standing(dir: &Path) -> std::io::Result<Standing> {
    // While it is renamed, a folder may be read without its only link.
    for _ in 0..100 {
        let entries = match std::fs::read_dir(dir.join(FOLDER)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Standing::None),
            entries => entries?,
        };
        let mut latest: Option<(u64, bool, Standing)> = None;
        for entry in entries {
            let Some(found) = entry?.file_name().to_str().and_then(read_name) else { continue };
            let (number, open) = match &found {
                Standing::Open(number) => (*number, true),
                Standing::Closed(number, _) => (*number, false),
                Standing::None => continue,
            };
            if latest.as_ref().is_none_or(|(n, o, _)| (number, open) > (*n, *o)) {
                latest = Some((number, open, found));
            }
        }
        if let Some((.., found)) = latest {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(std::io::Error::other("the folder of a repository's gate is empty"))
}

fn random() -> std::io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    Ok(allmende_core::digest::to_hex(&random))
}

/// Makes the first gate, unless somebody else does.
fn make(dir: &Path) -> std::io::Result<()> {
    let folder = dir.join(format!("{FOLDER}.{}", random()?));
    std::fs::create_dir(&folder)?;
    std::os::unix::fs::symlink("..", folder.join(name(1)))?;
    std::os::unix::fs::symlink(name(1), folder.join("1"))?;
    // A folder that is not empty is not replaced: there is one first gate.
    let made = std::fs::rename(&folder, dir.join(FOLDER));
    if made.is_err() {
        std::fs::remove_dir_all(&folder)?;
    }
    match made {
        Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => Err(error),
        _ => std::fs::File::open(dir)?.sync_all(),
    }
}

/// Renames the link; false if it is not called so any more.
fn rename(dir: &Path, from: &str, to: &str) -> std::io::Result<bool> {
    let folder = dir.join(FOLDER);
    match std::fs::rename(folder.join(from), folder.join(to)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        renamed => renamed?,
    }
    std::fs::File::open(&folder)?.sync_all()?;
    Ok(true)
}

/// Removes the locks of refs below `folder`, except of what is not seen yet: such a name is used once.
fn remove_locks(folder: &Path, depth: usize) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && depth < MAX_DEPTH && !(depth == 0 && entry.file_name() == "incoming") {
            remove_locks(&path, depth + 1)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "lock") {
            tracing::warn!(lock = %path.display(), "a lock was left by a call that died, and is removed");
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes every lock by the path that only the caller knows, and opens the gate of this number. False when the caller was
/// taken for dead meanwhile.
fn clean(dir: &Path, name: &str, number: u64) -> std::io::Result<bool> {
    let through = dir.join(FOLDER).join(name);
    let removed = remove_locks(&through.join("refs"), 0).and_then(|()| {
        for lock in ["packed-refs.lock", "HEAD.lock"] {
            match std::fs::remove_file(through.join(lock)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    });
    match removed {
        // A path that is not there any more: somebody else goes on.
        Err(error) if error.kind() == ErrorKind::NotFound && !through.exists() => Ok(false),
        Err(error) => Err(error),
        Ok(()) => {
            let by_number = dir.join(FOLDER).join(number.to_string());
            match std::os::unix::fs::symlink(self::name(number), by_number) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            rename(dir, name, &self::name(number))
        }
    }
}

/// The gate that is open, once one is.
fn open(dir: &Path) -> std::io::Result<Gate> {
    let mut seen: Option<(String, Instant)> = None;
    loop {
        match standing(dir)? {
            Standing::Open(number) => return Ok(Gate(number)),
            Standing::None => make(dir)?,
            Standing::Closed(number, name) => match &seen {
                Some((before, since)) if *before == name => {
                    if since.elapsed() > CLEANING {
                        let own = name_of_own(number)?;
                        if rename(dir, &name, &own)? {
                            clean(dir, &own, number)?;
                        }
                    } else {
                        std::thread::sleep(LOOK);
                    }
                }
                _ => seen = Some((name, Instant::now())),
            },
        }
    }
}

fn close(dir: &Path, gate: &Gate) -> std::io::Result<Option<Gate>> {
    let number = gate.0 + 1;
    let own = name_of_own(number)?;
    let closed = rename(dir, &name(gate.0), &own)? && clean(dir, &own, number)?;
    Ok(closed.then_some(Gate(number)))
}

impl GitRepo {
    async fn at_gate<T: Send + 'static>(
        &self,
        work: impl FnOnce(PathBuf) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, GitError> {
        let dir = self.dir.clone();
        let done = tokio::task::spawn_blocking(move || work(dir)).await.map_err(std::io::Error::other)?;
        done.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                GitError::Failed { call: "update-ref".to_owned(), said: "the repository is gone".to_owned() }
            }
            _ => error.into(),
        })
    }

    /// The gate that is open now; the first one is made here.
    ///
    /// # Errors
    /// [`GitError::Failed`] when the repository is gone, or [`GitError::Io`].
    pub async fn gate(&self) -> Result<Gate, GitError> {
        self.at_gate(|dir| open(&dir)).await
    }

    /// Whether the gate is the one that is open.
    pub(super) async fn is_open(&self, gate: &Gate) -> Result<bool, GitError> {
        let open = Standing::Open(gate.0);
        self.at_gate(move |dir| Ok(standing(&dir)? == open)).await
    }

    /// Closes a gate for good: no call that was given it moves a ref any more. What such calls have locked is free, and the
    /// next gate is open. Nothing if somebody else closed it.
    ///
    /// # Errors
    /// [`GitError::Failed`] when the repository is gone, or [`GitError::Io`].
    pub async fn close(&self, gate: &Gate) -> Result<Option<Gate>, GitError> {
        let gate = gate.clone();
        self.at_gate(move |dir| close(&dir, &gate)).await
    }

    /// The repository by the path of a gate, for calls that move refs.
    pub(super) fn through(&self, gate: &Gate) -> Self {
        Self { dir: self.dir.join(FOLDER).join(gate.0.to_string()), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_closed_once_and_what_came_through_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir_all(dir.join("refs/heads")).unwrap();
        let first = open(dir).unwrap();
        assert_eq!((open(dir).unwrap(), first.0), (first.clone(), 1));
        make(dir).unwrap();
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 2, "a second first gate leaves nothing");
        let early = dir.join(FOLDER).join("1/refs/heads");
        for lock in ["refs/heads/main.lock", "packed-refs.lock"] {
            std::fs::write(dir.join(lock), "").unwrap();
        }
        let second = close(dir, &first).unwrap().unwrap();
        assert_eq!((close(dir, &first).unwrap(), open(dir).unwrap()), (None, second));
        assert!(!dir.join("refs/heads/main.lock").exists() && !dir.join("packed-refs.lock").exists());
        // Another has a lock of the same name now: who came through the first gate does not reach it.
        std::fs::write(dir.join("refs/heads/main.lock"), "other").unwrap();
        assert!(std::fs::rename(early.join("main.lock"), early.join("main")).is_err());
        assert!(!dir.join("refs/heads/main").exists());
        assert!(std::fs::create_dir_all(&early).is_err(), "nor does it make a place of its own");
    }

    #[test]
    fn whoever_dies_over_locks_is_taken_over_and_removes_none_later() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir_all(dir.join("refs")).unwrap();
        open(dir).unwrap();
        assert!(rename(dir, "open.1", "open.2.dead").unwrap());
        assert_eq!(standing(dir).unwrap(), Standing::Closed(2, "open.2.dead".to_owned()));
        let began = Instant::now();
        assert_eq!(open(dir).unwrap(), Gate(2));
        assert!(began.elapsed() >= CLEANING);
        std::fs::write(dir.join("refs/x.lock"), "living").unwrap();
        assert!(!clean(dir, "open.2.dead", 2).unwrap());
        assert!(dir.join("refs/x.lock").exists());
    }
}
