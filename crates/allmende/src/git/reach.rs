//! What histories lead to: objects, and among them the pointers to large files.

use std::process::Stdio;

use tokio::io::BufReader;

use super::incoming::{cut_line, feed, object, words};
use super::objects::{MAX_POINTER_BYTES, MIN_POINTER_BYTES, Pointer};
use super::{GitError, GitRepo, Oid, failed};

/// Blobs that are read at once.
const BLOBS_AT_ONCE: usize = 4_096;

/// An object and what git says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its id.
    pub oid: Oid,
    /// `commit`, `tree`, `blob` or `tag`.
    pub kind: String,
    /// Its bytes.
    pub size: u64,
    /// A place where it stands, as far as git says.
    pub path: String,
}

/// A pointer to a large file, somewhere in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cited {
    /// The pointer's own id.
    pub oid: Oid,
    /// A place where it stands.
    pub path: String,
    /// What it says.
    pub pointer: Pointer,
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub enum History<'a> {
    /// Whatever any ref leads to: branches, tags, pull requests, commits that are being made.
    Whole,
    /// What `tips` lead to, and `but` do not.
    Of {
        /// Commits or tags.
        tips: &'a [Oid],
        /// Commits or tags.
        but: &'a [Oid],
    },
    /// What `tips` lead to, and no ref does.
    New {
        /// Commits or tags.
        tips: &'a [Oid],
    },
}

impl GitRepo {
    /// Every object of a history, one after the other to `each`. Fails unless everything that it leads to is there.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what git said, or what `each` fails with.
    pub async fn walk(
        &self,
        history: History<'_>,
        mut each: impl FnMut(Object) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        let (ending, tips, but): (&[&str], &[Oid], &[Oid]) = match history {
            History::Whole => (&["--all"], &[], &[]),
            History::Of { tips, but } => (&[], tips, but),
            History::New { tips } => (&["--not", "--all"], tips, &[]),
        };
        if matches!(history, History::Of { tips: [], .. } | History::New { tips: [] }) {
            return Ok(());
        }
        let args = ["rev-list", "--objects", "--stdin"].iter().chain(ending);
        let mut list = self.command(args).stdin(Stdio::piped()).spawn()?;
        let listed: Stdio = list.stdout.take().ok_or(GitError::Answer("no pipes"))?.try_into()?;
        let format = "--batch-check=%(objecttype) %(objectname) %(objectsize) %(rest)";
        let mut sizes = self.command(["cat-file", "--buffer", format]).stdin(listed).spawn()?;
        let mut asked: String = tips.iter().map(|tip| format!("{tip}\n")).collect();
        asked.extend(but.iter().map(|tip| format!("^{tip}\n")));
        let feed = feed(&mut list, asked.into_bytes());
        let mut out = BufReader::new(sizes.stdout.take().ok_or(GitError::Answer("no pipes"))?);
        // Once it has failed, its end of the pipe is closed, and the calls end.
        let read = async move {
            let mut line = Vec::new();
            while cut_line(&mut out, b'\n', &mut line).await? {
                each(object(&line)?)?;
            }
            Ok::<_, GitError>(())
        };
        let said = words(None, list.stderr.take());
        let ((), (_, said), read) = tokio::join!(feed, said, read);
        read?;
        if !list.wait().await?.success() {
            return Err(failed("rev-list".to_owned(), &said));
        }
        if !sizes.wait().await?.success() {
            return Err(GitError::Answer("the sizes of objects"));
        }
        Ok(())
    }

    /// Every pointer of a history, each blob once. Memory: the ids and places of its small blobs.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn cited(&self, history: History<'_>, mut each: impl FnMut(Cited)) -> Result<(), GitError> {
        let mut small = Vec::new();
        self.walk(history, |object| {
            if object.kind == "blob" && (MIN_POINTER_BYTES..=MAX_POINTER_BYTES).contains(&object.size) {
                small.push((object.oid, object.path));
            }
            Ok(())
        })
        .await?;
        let mut small = small.into_iter();
        loop {
            let some: Vec<(Oid, String)> = small.by_ref().take(BLOBS_AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            let oids: Vec<Oid> = some.iter().map(|(oid, _)| *oid).collect();
            for ((oid, path), blob) in some.into_iter().zip(self.blobs(&oids).await?) {
                if let Some(pointer) = blob.and_then(|bytes| Pointer::parse(&bytes)) {
                    each(Cited { oid, path, pointer });
                }
            }
        }
    }

    /// Whether any ref leads to the commit. What none leads to may lack large files that were collected.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn is_led_to(&self, commit: Oid) -> Result<bool, GitError> {
        let contains = format!("--contains={commit}");
        Ok(!self.run(["for-each-ref", "--count=1", "--format=%(refname)", &contains], &[]).await?.is_empty())
    }
}
