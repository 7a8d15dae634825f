//! Histories on their way from one place to another: what refs lead to, as one pack, and nothing else.

use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdout};

use super::incoming::words;
use super::refs::Change;
use super::{GitError, GitRepo, Oid, failed};

/// A ref and its own object, which for a tag with a message is not its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// In full.
    pub name: String,
    /// Where it leads.
    pub oid: Oid,
}

/// A pack that git writes. Dropping it ends the call.
#[derive(Debug)]
pub struct Packing {
    child: Child,
    out: Option<ChildStdout>,
}

impl Packing {
    /// Writes it to its end into `into`; gives how many bytes.
    ///
    /// # Errors
    /// [`GitError::Failed`] when git could not make it; what was written is of no use then.
    pub async fn write(mut self, into: &mut (impl tokio::io::AsyncWrite + Unpin)) -> Result<u64, GitError> {
        let mut out = self.out.take().ok_or(GitError::Answer("no pipes"))?;
        let stderr = self.child.stderr.take();
        let (copied, (_, said)) = tokio::join!(tokio::io::copy(&mut out, into), words(None, stderr));
        drop(out);
        if !self.child.wait().await?.success() {
            return Err(failed("pack-objects".to_owned(), &said));
        }
        Ok(copied?)
    }
}

impl GitRepo {
    /// All refs that begin with one of `prefixes`, such as `refs/heads`.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn tips(&self, prefixes: &[&str]) -> Result<Vec<Tip>, GitError> {
        let args = ["for-each-ref", "--format=%(objectname) %(refname)"];
        let answer = self.run(args.iter().chain(prefixes), &[]).await?;
        let answer = String::from_utf8(answer).map_err(|_| GitError::Answer("a ref's name is no UTF-8"))?;
        let line = |line: &str| {
            let (oid, name) = line.split_once(' ').ok_or(GitError::Answer("a ref"))?;
            Ok(Tip { name: name.to_owned(), oid: oid.parse()? })
        };
        answer.lines().map(line).collect()
    }

    /// A pack of everything that the refs lead to.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn pack(&self, tips: &[Tip]) -> Result<Packing, GitError> {
        self.pack_since(tips, &[]).await
    }

    /// The same without what `but` leads to, which whoever takes the pack has to have.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn pack_since(&self, tips: &[Tip], but: &[Oid]) -> Result<Packing, GitError> {
        let args = ["-c", "pack.threads=1", "pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset"];
        let thin: &[&str] = if but.is_empty() { &[] } else { &["--thin"] };
        let args = args.iter().chain(thin);
        let mut child = self.command(args).stdin(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().ok_or(GitError::Answer("no pipes"))?;
        let mut asked: String = tips.iter().map(|tip| format!("{}\n", tip.oid)).collect();
        asked.extend(but.iter().map(|oid| format!("^{oid}\n")));
        // It reads everything before it writes.
        stdin.write_all(asked.as_bytes()).await?;
        stdin.shutdown().await?;
        let out = child.stdout.take();
        Ok(Packing { child, out })
    }

    /// Takes a pack of this hub's own making into a repository that nobody sees yet, and then its refs.
    ///
    /// # Errors
    /// [`GitError::Failed`] when the pack is damaged, or lacks something that a ref leads to.
    pub async fn unpack(&self, mut pack: impl AsyncRead + Unpin, tips: &[Tip]) -> Result<(), GitError> {
        if tips.is_empty() {
            return Ok(());
        }
        let args = ["-c", "pack.threads=1", "index-pack", "--stdin", "--strict"];
        let mut child = self.command(args).stdin(Stdio::piped()).spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async move {
            let Some(mut stdin) = stdin else { return Ok(0) };
            let copied = tokio::io::copy(&mut pack, &mut stdin).await;
            let _ = stdin.shutdown().await;
            copied
        };
        let (fed, (_, said)) = tokio::join!(feed, words(stdout, stderr));
        if !child.wait().await?.success() {
            return Err(failed("index-pack".to_owned(), &said));
        }
        fed?;
        let change = |tip: &Tip| Change { name: tip.name.clone(), old: Oid::ZERO, new: tip.oid };
        self.change_refs(&tips.iter().map(change).collect::<Vec<_>>()).await
    }
}
