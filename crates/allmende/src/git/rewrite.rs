//! Taking files out of a whole history: every commit is made anew without them.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};

use super::incoming::words;
use super::refs::Change;
use super::{GitError, GitRepo, Oid, failed};

/// Longest line of git's stream that is read, in bytes: a path in quotes.
const MAX_LINE_BYTES: u64 = 1 << 18;

/// A ref as it stands: its own object, and the commit that it leads to.
struct Standing {
    name: String,
    own: Oid,
    commit: Oid,
}

/// A history that was made anew.
#[derive(Debug)]
pub struct Anew {
    /// What has to move.
    pub changes: Vec<Change>,
    /// The names that hold it until then, for [`GitRepo::let_go`].
    pub names: Vec<String>,
}

impl GitRepo {
    /// Makes all commits anew without the files whose blobs are `gone`. Gives what has to move so that every branch, tag and
    /// pull request leads to the new ones. Commits before the first that changes keep their ids unless they were signed.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn without(&self, gone: &HashSet<Oid>) -> Result<Anew, GitError> {
        let standing = self.standing().await?;
        let mut random = [0; 12];
        getrandom::fill(&mut random).map_err(|e| GitError::Io(std::io::Error::other(e)))?;
        let folder = format!("refs/incoming/{}", allmende_core::digest::to_hex(&random));
        let mut places: Vec<(Oid, String)> = Vec::new();
        for one in &standing {
            if !places.iter().any(|(commit, _)| *commit == one.commit) {
                places.push((one.commit, format!("{folder}/{}", places.len())));
            }
        }
        let begun: Vec<Change> =
            places.iter().map(|(new, name)| Change { name: name.clone(), old: Oid::ZERO, new: *new }).collect();
        self.change_refs(&begun).await?;
        let names = places.iter().map(|(_, name)| name.clone()).collect();
        match self.rewritten(&folder, gone, &standing, &places).await {
            Ok(changes) => Ok(Anew { changes, names }),
            Err(error) => {
                self.let_go(&names).await?;
                Err(error)
            }
        }
    }

    /// Ends what [`Self::without`] began, once everything has moved or will not.
    ///
    /// # Errors
    /// [`GitError`]; what holds the commits is swept later.
    pub async fn let_go(&self, names: &Vec<String>) -> Result<(), GitError> {
        for name in names {
            self.delete_ref(name).await?;
        }
        Ok(())
    }

    async fn standing(&self) -> Result<Vec<Standing>, GitError> {
        let format = "--format=%(objectname) %(*objectname) %(refname)";
        let answer = self.run(["for-each-ref", format, "refs/heads", "refs/tags", "refs/pr"], &[]).await?;
        let answer = String::from_utf8(answer).map_err(|_| GitError::Answer("a ref's name is no UTF-8"))?;
        let line = |line: &str| {
            let mut fields = line.splitn(3, ' ');
            let mut next = || fields.next().ok_or(GitError::Answer("a ref"));
            let (own, peeled, name) = (next()?.parse()?, next()?, next()?.to_owned());
            Ok(Standing { name, own, commit: if peeled.is_empty() { own } else { peeled.parse()? } })
        };
        answer.lines().map(line).collect()
    }

    async fn rewritten(
        &self,
        folder: &str,
        gone: &HashSet<Oid>,
        standing: &[Standing],
        places: &[(Oid, String)],
    ) -> Result<Vec<Change>, GitError> {
        self.import_without(folder, gone).await?;
        let made = self.refs(&format!("{folder}/")).await?;
        let made: HashMap<&str, Oid> = made.iter().map(|r| (r.name.as_str(), r.commit)).collect();
        let mut commits = HashMap::new();
        for (old, name) in places {
            let new = made.get(name.as_str()).ok_or(GitError::Answer("a commit that was made anew"))?;
            commits.insert(*old, *new);
        }
        let mut changes = Vec::new();
        for Standing { name, own, commit } in standing {
            let Some(new) = commits.get(commit).filter(|new| *new != commit) else { continue };
            let new = if own == commit { *new } else { self.tag_anew(*own, *new).await? };
            changes.push(Change { name: name.clone(), old: *own, new });
        }
        Ok(changes)
    }

    /// The tag `own` with its words, for another commit. A signature of what it was is left out.
    async fn tag_anew(&self, own: Oid, commit: Oid) -> Result<Oid, GitError> {
        let text = self.run(["cat-file", "tag", &own.to_string()], &[]).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let text = text.split("-----BEGIN").next().unwrap_or_default();
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        // A tag of a tag becomes one of the commit.
        let rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        let answer = self.run(["mktag"], format!("object {commit}\ntype commit\n{rest}").as_bytes()).await?;
        String::from_utf8_lossy(&answer).trim().parse()
    }

    /// Sends the history below `folder` through git's own stream, without what is gone.
    async fn import_without(&self, folder: &str, gone: &HashSet<Oid>) -> Result<(), GitError> {
        let glob = format!("--glob={folder}/*");
        let export = ["fast-export", "--no-data", "--reencode=no", "--signed-tags=strip", "--use-done-feature", &glob];
        let mut export = self.command(export).spawn()?;
        let import = ["fast-import", "--quiet", "--done", "--date-format=raw", "--force"];
        let mut import = self.command(import).stdin(Stdio::piped()).spawn()?;
        let from = export.stdout.take().ok_or(GitError::Answer("no pipes"))?;
        let into = import.stdin.take().ok_or(GitError::Answer("no pipes"))?;
        let pass = pass_on(BufReader::new(from), BufWriter::new(into), gone);
        let (exported, imported) =
            (words(None, export.stderr.take()), words(import.stdout.take(), import.stderr.take()));
        let (passed, (_, exported), (_, imported)) = tokio::join!(pass, exported, imported);
        let (export, import) = (export.wait().await?, import.wait().await?);
        // When taking it fails, so does giving it.
        if !import.success() {
            return Err(failed("fast-import".to_owned(), &imported));
        }
        if !export.success() {
            return Err(failed("fast-export".to_owned(), &exported));
        }
        passed
    }
}

/// Copies a stream; a line that puts a blob that is gone removes what stands at its place instead.
async fn pass_on(
    mut from: impl tokio::io::AsyncBufRead + Unpin,
    mut into: impl tokio::io::AsyncWrite + Unpin,
    gone: &HashSet<Oid>,
) -> Result<(), GitError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut from).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
        if read == 0 {
            into.shutdown().await?;
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            return Err(GitError::Answer("a line of a history is too long"));
        }
        let text = std::str::from_utf8(&line).unwrap_or_default();
        if let Some(count) = text.strip_prefix("data ") {
            let count: u64 = count.trim_end().parse().map_err(|_| GitError::Answer("the length of a message"))?;
            into.write_all(&line).await?;
            // Whatever it says, it is a message.
            if tokio::io::copy(&mut (&mut from).take(count), &mut into).await? != count {
                return Err(GitError::Answer("a message is cut off"));
            }
            continue;
        }
        match removed(&line, gone) {
            Some(path) => {
                into.write_all(b"D ").await?;
                into.write_all(path).await?;
            }
            None => into.write_all(&line).await?,
        }
    }
}

/// The path, with the end of its line, of `M <mode> <blob> <path>` whose blob is gone.
fn removed<'a>(line: &'a [u8], gone: &HashSet<Oid>) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(b"M ")?;
    let mut fields = rest.splitn(3, |&c| c == b' ');
    let (_, blob, path) = (fields.next()?, fields.next()?, fields.next()?);
    let blob: Oid = std::str::from_utf8(blob).ok()?.parse().ok()?;
    gone.contains(&blob).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_gone_is_removed_and_messages_stay_as_they_are() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let gone = HashSet::from([a.parse().unwrap()]);
        let lie = format!("M 100644 {a} x\n");
        let stream = format!(
            "commit refs/x\ndata {}\n{lie}M 100644 {a} \"p q\"\nM 100644 {b} p\nM 100755 {a} z\nD y\ndone\n",
            lie.len()
        );
        let mut out = Vec::new();
        pass_on(stream.as_bytes(), &mut out, &gone).await.unwrap();
        let expected = format!("commit refs/x\ndata {}\n{lie}D \"p q\"\nM 100644 {b} p\nD z\nD y\ndone\n", lie.len());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(pass_on("data 9\nx".as_bytes(), &mut Vec::new(), &gone).await.is_err());
    }
}
