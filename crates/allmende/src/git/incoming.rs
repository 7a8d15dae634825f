//! What is pushed: taken into a folder of its own, looked at there, and only then part of the repository.
//!
//! Until [`Incoming::keep`] nothing that reads the repository sees these objects, and dropping them leaves nothing. A crash
//! leaves a folder that [`Git::sweep_incoming`] removes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::reach::{History, Object};
use super::{Git, GitError, GitRepo, Oid, failed};

/// The folder of what arrives, beside the repositories.
pub(super) const FOLDER: &str = "incoming";
/// Most objects of one push.
pub const MAX_OBJECTS: u32 = 5_000_000;
/// Most files and folders that the commits of one push may change together.
pub const MAX_CHANGES: u64 = 10_000_000;
/// Most that git may hold in memory at once for one object or table: what packs unfold to is bounded by nothing else.
const MAX_ALLOCATION: &str = "512m";
/// Longest line or path that is read of git's answers.
const MAX_LINE_BYTES: u64 = 1 << 16;

/// How git reads a folder in a list of folders.
pub(super) fn listed(folder: &Path) -> OsString {
    let mut out = vec![b'"'];
    for &c in folder.as_os_str().as_bytes() {
        if matches!(c, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(c);
    }
    out.push(b'"');
    OsString::from_vec(out)
}

/// Objects that arrived and wait. Dropping it removes them.
#[derive(Debug)]
pub struct Incoming {
    git: GitRepo,
    dir: Arc<PathBuf>,
    /// Whether there are any.
    any: bool,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What stays is swept later.
        let _ = std::fs::remove_dir_all(self.dir.as_path());
    }
}

/// A file or folder that a new commit has and its first parent has not, or has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Its mode, such as `100644`.
    pub mode: String,
    /// What stands there.
    pub oid: Oid,
    /// Where, as it was sent.
    pub path: Vec<u8>,
}

impl Incoming {
    /// Room for a push to `git`.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn begin(git: &GitRepo) -> Result<Self, GitError> {
        let mut random = [0; 12];
        getrandom::fill(&mut random).map_err(|e| GitError::Io(std::io::Error::other(e)))?;
        let dir = Arc::new(git.waiting.join(allmende_core::digest::to_hex(&random)));
        tokio::fs::create_dir_all(dir.join("pack")).await?;
        let git = GitRepo { incoming: Some(Arc::clone(&dir)), ..git.clone() };
        Ok(Self { git, dir, any: false })
    }

    /// The repository as it would be with these objects.
    #[must_use]
    pub fn git(&self) -> &GitRepo {
        &self.git
    }

    /// Takes a pack to its end: each object is read, its form checked, and everything that it names must be there.
    ///
    /// # Errors
    /// [`GitError::Refused`] says what is wrong with it.
    pub async fn take(&mut self, mut pack: impl AsyncRead + Unpin, max_bytes: u64) -> Result<(), GitError> {
        let mut head = [0; 12];
        let cut = |_| GitError::Refused("the pack is cut off".to_owned());
        pack.read_exact(&mut head).await.map_err(cut)?;
        let [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, a, b, c, d] = head else {
            return Err(GitError::Refused("this is no pack".to_owned()));
        };
        let count = u32::from_be_bytes([a, b, c, d]);
        if count > MAX_OBJECTS {
            return Err(GitError::Refused(format!("the push has {count} objects: send at most {MAX_OBJECTS} at once")));
        }
        let max = format!("--max-input-size={max_bytes}");
        let args = ["-c", "core.bigFileThreshold=16m", "-c", "pack.threads=1"];
        let args = args.into_iter().chain(["index-pack", "--stdin", "--fix-thin", "--strict", &max]);
        let mut command = self.git.command(args);
        let mut child = command.env("GIT_ALLOC_LIMIT", MAX_ALLOCATION).stdin(Stdio::piped()).spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            let Some(mut stdin) = stdin else { return Ok(()) };
            if stdin.write_all(&head).await.is_ok() {
                let mut piece = vec![0; 1 << 16];
                let (mut taken, mut takes) = (head.len() as u64, true);
                loop {
                    let read = pack.read(&mut piece).await.map_err(cut)?;
                    taken += read as u64;
                    if read == 0 || taken > max_bytes.saturating_mul(2) {
                        break;
                    }
                    // What is too much or was refused early is read all the same: clients hear why only once they have
                    // sent everything.
                    takes = takes && taken <= max_bytes && stdin.write_all(&piece[..read]).await.is_ok();
                }
                let _ = stdin.shutdown().await;
                if taken > max_bytes {
                    let text = format!("the push has more than max_push_bytes = {max_bytes} bytes: push in steps");
                    return Err(GitError::Refused(text));
                }
            }
            Ok(())
        };
        let (fed, (_, said)) = tokio::join!(feed, words(stdout, stderr));
        fed?;
        if !child.wait().await?.success() {
            return Err(GitError::Refused(plainly(&said)));
        }
        self.any = count > 0;
        Ok(())
    }

    /// What the objects occupy on disk.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn size_bytes(&self) -> Result<u64, GitError> {
        if !self.any {
            return Ok(0);
        }
        let dir = Arc::clone(&self.dir);
        let sum = tokio::task::spawn_blocking(move || super::folder_bytes(&dir)).await;
        Ok(sum.map_err(std::io::Error::other)??)
    }

    /// Every object that `tips` lead to and no ref of the repository, one after the other to `each`. Fails unless
    /// everything that they lead to is there.
    ///
    /// # Errors
    /// [`GitError::Refused`], or what `each` fails with.
    pub async fn objects(
        &self,
        tips: &[Oid],
        each: impl FnMut(Object) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        self.git.walk(History::New { tips }, each).await.map_err(|error| match error {
            GitError::Failed { said, .. } => GitError::Refused(plainly(said.as_bytes())),
            error => error,
        })
    }

    /// What each of `commits` changes against its first parent, one after the other to `each`. Whoever asks again and again
    /// counts to [`MAX_CHANGES`] over all of it.
    ///
    /// A path of a commit's tree either stands so in its first parent, or is among these. With the parents looked at before,
    /// that is every path.
    ///
    /// # Errors
    /// [`GitError::Refused`], or what `each` fails with.
    pub async fn entries(
        &self,
        commits: &[Oid],
        mut each: impl FnMut(NewEntry) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        let args = ["diff-tree", "--stdin", "-r", "-t", "--root", "-z", "--no-renames", "--no-abbrev"];
        let args = args.into_iter().chain(["--no-ext-diff", "--diff-merges=first-parent"]);
        let mut child = self.git.command(args).stdin(Stdio::piped()).spawn()?;
        let asked: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        let feed = feed(&mut child, asked.into_bytes());
        let mut out = BufReader::new(child.stdout.take().ok_or(GitError::Answer("no pipes"))?);
        let read = async move {
            let (mut token, mut changes) = (Vec::new(), 0_u64);
            while cut_line(&mut out, 0, &mut token).await? {
                // A commit's id, or the line of a change, which its path follows.
                let Some((mode, oid)) = change(&token)? else { continue };
                if !cut_line(&mut out, 0, &mut token).await? {
                    return Err(GitError::Answer("a change without path"));
                }
                changes += 1;
                if changes > MAX_CHANGES {
                    let text = format!("the push changes more than {MAX_CHANGES} files: send fewer commits at once");
                    return Err(GitError::Refused(text));
                }
                if oid != Oid::ZERO {
                    each(NewEntry { mode, oid, path: std::mem::take(&mut token) })?;
                }
            }
            Ok(())
        };
        let ((), (_, said), read) = tokio::join!(feed, words(None, child.stderr.take()), read);
        read?;
        if !child.wait().await?.success() {
            return Err(failed("diff-tree".to_owned(), &said));
        }
        Ok(())
    }

    /// Makes the objects part of the repository, durably. Refs may lead to them from here.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn keep(mut self) -> Result<(), GitError> {
        if !std::mem::replace(&mut self.any, false) {
            return Ok(());
        }
        let (from, to) = (self.dir.join("pack"), self.git.dir.join("objects").join("pack"));
        let moved = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&to)?;
            let mut names: Vec<OsString> =
                std::fs::read_dir(&from)?.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
            // The index comes last: a pack is there once its index is.
            names.retain(|name| name.as_bytes().starts_with(b"pack-"));
            names.sort_by_key(|name| name.as_bytes().ends_with(b".idx"));
            for name in names {
                std::fs::File::open(from.join(&name))?.sync_all()?;
                std::fs::rename(from.join(&name), to.join(&name))?;
            }
            std::fs::File::open(&to)?.sync_all()
        });
        moved.await.map_err(std::io::Error::other)??;
        Ok(())
    }
}

impl Git {
    /// Removes what crashes left of pushes and is older than `age`. Gives how many.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn sweep_incoming(&self, age: Duration) -> Result<u64, GitError> {
        let folder = self.root.join(FOLDER);
        let sweep = move || {
            let mut swept = 0;
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let old = |at: SystemTime| at.elapsed().is_ok_and(|elapsed| elapsed >= age);
                let is_old = entry.metadata().and_then(|m| m.modified()).is_ok_and(old);
                if is_old && std::fs::remove_dir_all(entry.path()).is_ok() {
                    swept += 1;
                }
            }
            Ok::<_, std::io::Error>(swept)
        };
        Ok(tokio::task::spawn_blocking(sweep).await.map_err(std::io::Error::other)??)
    }
}

/// Writes what a call asks for, and closes its input.
pub(super) fn feed(child: &mut Child, asked: Vec<u8>) -> impl Future<Output = ()> + use<> {
    let stdin = child.stdin.take();
    async move {
        if let Some(mut stdin) = stdin {
            // A call that has heard enough closes its end: what matters is its answer.
            let _ = stdin.write_all(&asked).await;
            let _ = stdin.shutdown().await;
        }
    }
}

/// The beginnings of what a call answers and says, each read to the end.
pub(super) async fn words(stdout: Option<ChildStdout>, stderr: Option<ChildStderr>) -> (Vec<u8>, Vec<u8>) {
    async fn all(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
        let mut text = Vec::new();
        if let Some(mut stream) = stream {
            // Without it a failure is only less clear.
            let _ = (&mut stream).take(64 << 10).read_to_end(&mut text).await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        text
    }
    tokio::join!(all(stdout), all(stderr))
}

/// Reads up to `end`, which is left out. False when there is nothing more.
pub(super) async fn cut_line(
    from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    end: u8,
    line: &mut Vec<u8>,
) -> Result<bool, GitError> {
    line.clear();
    let read = (&mut *from).take(MAX_LINE_BYTES).read_until(end, line).await?;
    if read == 0 {
        return Ok(false);
    }
    if line.pop() != Some(end) {
        return Err(GitError::Refused("a path is longer than git can say".to_owned()));
    }
    Ok(true)
}

pub(super) fn object(line: &[u8]) -> Result<Object, GitError> {
    let text = String::from_utf8_lossy(line);
    let mut fields = text.splitn(4, ' ');
    let (kind, oid, size) = (fields.next(), fields.next(), fields.next());
    let size = size.and_then(|size| size.parse().ok());
    let (Some(kind), Some(oid), Some(size)) = (kind, oid, size) else {
        return Err(GitError::Refused(format!("an object is missing: {}", text.chars().take(60).collect::<String>())));
    };
    Ok(Object { oid: oid.parse()?, kind: kind.to_owned(), size, path: fields.next().unwrap_or_default().to_owned() })
}

/// The new mode and object of `:100644 100644 <old> <new> M`.
fn change(token: &[u8]) -> Result<Option<(String, Oid)>, GitError> {
    let Some(rest) = token.strip_prefix(b":") else { return Ok(None) };
    let bad = || GitError::Answer("the line of a change");
    let text = std::str::from_utf8(rest).map_err(|_| bad())?;
    let mut fields = text.split(' ');
    let (_, mode, _, new) = (fields.next(), fields.next(), fields.next(), fields.next());
    Ok(Some((mode.ok_or_else(bad)?.to_owned(), new.ok_or_else(bad)?.parse()?)))
}

/// What git says, for whoever sent it: without paths of ours, without what is no text.
fn plainly(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines = text.lines().filter(|line| !line.contains("index-pack") && !line.trim().is_empty());
    let line = lines.map(|line| line.trim_start_matches("fatal: ").trim_start_matches("error: ")).next();
    let line: String = line.unwrap_or("the pack cannot be read").chars().filter(|c| !c.is_control()).collect();
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_listed_for_git() {
        assert_eq!(listed(Path::new("/a:b/\"c\\")), "\"/a:b/\\\"c\\\\\"");
    }

    #[test]
    fn git_s_lines() {
        let zero = "0".repeat(40);
        let one = "1".repeat(40);
        let line = format!(":000000 120000 {zero} {one} A");
        let (mode, oid) = change(line.as_bytes()).unwrap().unwrap();
        assert_eq!((mode.as_str(), oid.to_string()), ("120000", one.clone()));
        assert_eq!(change(one.as_bytes()).unwrap(), None);
        assert!(change(b":000000").is_err());
        let found = object(format!("blob {one} 17 a b/c").as_bytes()).unwrap();
        assert_eq!((found.kind.as_str(), found.size, found.path.as_str()), ("blob", 17, "a b/c"));
        assert!(matches!(object(format!("{one} missing").as_bytes()), Err(GitError::Refused(_))));
    }
}
