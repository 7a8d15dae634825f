//! Calls that stay: a git process that answers questions for objects one after the other, so that a file costs none of its
//! own. It looks refs and packs up anew for each question; only what never changes is remembered there.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::Instant;

use super::objects::MAX_BLOB_BYTES;
use super::{CALL_TIMEOUT, GitError, GitRepo, MAX_ANSWER_BYTES, Oid};

/// Processes that wait for a question, of all repositories together.
const MAX_IDLE: usize = 16;
/// How long one waits.
const IDLE: Duration = Duration::from_secs(10);
/// Longest line of an answer: the name that was asked for, and what is said of it.
const MAX_LINE_BYTES: u64 = 16 << 10;

/// An object, as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its id.
    pub oid: Oid,
    /// `commit`, `tree`, `blob` or `tag`.
    pub kind: String,
    /// Its bytes.
    pub size: u64,
    /// Its content, if that was asked for and is no more than a blob may have.
    pub content: Option<Vec<u8>>,
}

/// What is asked of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// What it is.
    Info,
    /// The same, and its content.
    Content,
}

#[derive(Debug)]
struct Reader {
    // Killed when it is dropped.
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// The processes that wait, the longest-waiting first.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    idle: Vec<(PathBuf, Instant, Reader)>,
    /// Whether somebody looks for those that have waited long enough.
    watched: bool,
}

impl Readers {
    fn take(&self, repo: &GitRepo) -> Option<Reader> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one that came back: the others may end.
        let at = waiting.idle.iter().rposition(|(dir, ..)| *dir == repo.dir)?;
        Some(waiting.idle.remove(at).2)
    }

    fn give_back(self: &Arc<Self>, repo: &GitRepo, reader: Reader) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.idle.len() == MAX_IDLE {
            waiting.idle.remove(0);
        }
        waiting.idle.push((repo.dir.clone(), Instant::now(), reader));
        if !std::mem::replace(&mut waiting.watched, true) {
            let readers = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(IDLE).await;
                    let Some(readers) = readers.upgrade() else { return };
                    let mut waiting = readers.0.lock().unwrap_or_else(PoisonError::into_inner);
                    waiting.idle.retain(|(_, since, _)| since.elapsed() < IDLE);
                    if waiting.idle.is_empty() {
                        waiting.watched = false;
                        return;
                    }
                }
            });
        }
    }
}

impl Reader {
    fn start(repo: &GitRepo) -> Result<Self, GitError> {
        let args = ["cat-file", "--batch-command=%(objectname) %(objecttype) %(objectsize)"];
        let mut child = repo.command(args).stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GitError::Answer("no pipes"));
        };
        Ok(Self { _child: child, input, output: BufReader::new(output) })
    }

    /// One answer for each name. Any failure leaves it of no use.
    async fn ask<S: AsRef<str>>(&mut self, ask: Ask, names: &[S]) -> Result<Vec<Option<Object>>, GitError> {
        let command = if ask == Ask::Info { "info" } else { "contents" };
        let mut questions = String::new();
        for name in names.iter().map(AsRef::as_ref) {
            if name.contains(['\n', '\0']) {
                return Err(GitError::Answer("a name of two lines"));
            }
            questions.push_str(&format!("{command} {name}\n"));
        }
        let (input, output) = (&mut self.input, &mut self.output);
        // It answers while it still hears: both pipes are served at once.
        let write = async { Ok(input.write_all(questions.as_bytes()).await?) };
        let read = async {
            let (mut answers, mut kept) = (Vec::with_capacity(names.len()), 0);
            for _ in names {
                answers.push(answer(output, ask, &mut kept).await?);
            }
            Ok::<_, GitError>(answers)
        };
        Ok(tokio::try_join!(write, read)?.1)
    }
}

/// The next answer; none for what is not there. `kept` is how many bytes all answers have so far.
async fn answer(output: &mut BufReader<ChildStdout>, ask: Ask, kept: &mut u64) -> Result<Option<Object>, GitError> {
    let mut line = Vec::new();
    (&mut *output).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(GitError::Answer("an object's line is cut off"));
    }
    let Some((oid, kind, size)) = object(&line) else { return Ok(None) };
    let mut content = None;
    if ask == Ask::Content {
        let mut body = (&mut *output).take(size);
        if size <= MAX_BLOB_BYTES {
            *kept += size;
            if *kept > MAX_ANSWER_BYTES {
                return Err(GitError::TooMuch("cat-file".to_owned()));
            }
            // At most 32 MiB.
            let mut bytes = Vec::with_capacity(size as usize);
            body.read_to_end(&mut bytes).await?;
            content = Some(bytes);
        } else {
            tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
        }
        if body.limit() != 0 || output.read_u8().await? != b'\n' {
            return Err(GitError::Answer("an object is cut off"));
        }
    }
    Ok(Some(Object { oid, kind, size, content }))
}

/// `<id> <type> <size>`; anything else says that there is no such object.
fn object(line: &[u8]) -> Option<(Oid, String, u64)> {
    let mut fields = std::str::from_utf8(line).ok()?.split(' ');
    let (oid, kind, size) = (fields.next()?, fields.next()?, fields.next()?);
    let known = matches!(kind, "commit" | "tree" | "blob" | "tag") && fields.next().is_none();
    known.then_some(())?;
    Some((oid.parse().ok()?, kind.to_owned(), size.parse().ok()?))
}

impl GitRepo {
    /// The objects of these names, which may be any that git knows, in their order; none for what is not there.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn objects<S: AsRef<str>>(&self, ask: Ask, names: &[S]) -> Result<Vec<Option<Object>>, GitError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        // What reads a push that waits must not answer for the repository.
        let shared = self.incoming.is_none();
        let waiting = if shared { self.readers.take(self) } else { None };
        let waited = waiting.is_some();
        let mut reader = waiting.map_or_else(|| Reader::start(self), Ok)?;
        let slow = || GitError::Slow("cat-file".to_owned());
        let mut answers = tokio::time::timeout(CALL_TIMEOUT, reader.ask(ask, names)).await.map_err(|_| slow())?;
        // One that waited may have ended meanwhile.
        if waited && matches!(answers, Err(GitError::Io(_) | GitError::Answer(_))) {
            reader = Reader::start(self)?;
            answers = tokio::time::timeout(CALL_TIMEOUT, reader.ask(ask, names)).await.map_err(|_| slow())?;
        }
        let answers = answers?;
        if shared {
            self.readers.give_back(self, reader);
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_git() {
        let id = "1".repeat(40);
        let (oid, kind, size) = object(format!("{id} blob 17").as_bytes()).unwrap();
        assert_eq!((oid.to_string(), kind.as_str(), size), (id.clone(), "blob", 17));
        for none in [
            format!("{id} missing"),
            format!("{id}:a blob 17 missing"),
            "x ambiguous".to_owned(),
            format!("{id} submodule"),
            format!("{id} blob x"),
            String::new(),
        ] {
            assert!(object(none.as_bytes()).is_none(), "{none}");
        }
    }
}
