//! Making a commit: its changes stream into git one after the other, and a ref moves at the end.

use std::process::Stdio;

use allmende_core::time::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::{GitError, GitRepo, Oid, RepoPath, failed};

/// Who commits, as it will stand in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Name.
    pub name: String,
    /// Address.
    pub email: String,
}

impl Author {
    /// As git writes it, with the time.
    #[must_use]
    pub fn line(&self, at: Timestamp) -> String {
        // What would end the field or the line is left out.
        let clean =
            |text: &str| text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect::<String>();
        format!("{} <{}> {} +0000", clean(&self.name).trim(), clean(&self.email).trim(), at.0 / 1_000)
    }
}

/// A commit under way. Nothing is visible before a ref is moved to what [`Self::finish`] gives; dropping it leaves nothing.
#[derive(Debug)]
pub struct Builder {
    child: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
    repo: GitRepo,
    incoming: String,
}

/// A path as git's stream has it.
fn quoted(path: &RepoPath) -> String {
    let mut out = String::from("\"");
    for c in path.as_str().chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

impl Builder {
    /// Begins a commit upon `parents`, the first of which gives the files that it starts from.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn start(
        repo: &GitRepo,
        parents: &[Oid],
        author: &Author,
        message: &str,
        at: Timestamp,
    ) -> Result<Self, GitError> {
        let mut random = [0; 12];
        getrandom::fill(&mut random).map_err(|e| GitError::Io(std::io::Error::other(e)))?;
        let incoming = format!("refs/incoming/{}", allmende_core::digest::to_hex(&random));
        let args = ["fast-import", "--quiet", "--done", "--date-format=raw", "--force"];
        let mut child = repo.command(args).stdin(Stdio::piped()).spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GitError::Answer("no pipes"));
        };
        let (input, output) = (BufWriter::with_capacity(1 << 16, stdin), BufReader::new(stdout));
        let mut builder = Self { child, input, output, repo: repo.clone(), incoming };
        let line = author.line(at);
        let mut head = format!("commit {}\nmark :1\nauthor {line}\ncommitter {line}\n", builder.incoming);
        head.push_str(&format!("data {}\n{message}\n", message.len()));
        for (i, parent) in parents.iter().enumerate() {
            head.push_str(&format!("{} {parent}\n", if i == 0 { "from" } else { "merge" }));
        }
        builder.write(head.as_bytes()).await?;
        Ok(builder)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), GitError> {
        match self.input.write_all(bytes).await {
            Ok(()) => Ok(()),
            // It ended early: why stands in what it said.
            Err(_) => Err(self.broken().await),
        }
    }

    async fn broken(&mut self) -> GitError {
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // Without it the failure is only less clear.
            let _ = stderr.take(64 << 10).read_to_end(&mut said).await;
        }
        failed("fast-import".to_owned(), &said)
    }

    /// Puts a file of these bytes at `path`.
    ///
    /// # Errors
    /// [`GitError::Failed`].
    pub async fn put(&mut self, path: &RepoPath, bytes: &[u8]) -> Result<(), GitError> {
        self.write(format!("M 100644 inline {}\ndata {}\n", quoted(path), bytes.len()).as_bytes()).await?;
        self.write(bytes).await?;
        self.write(b"\n").await
    }

    /// Puts a blob that the repository holds already at `path`.
    ///
    /// # Errors
    /// [`GitError::Failed`].
    pub async fn link(&mut self, path: &RepoPath, blob: Oid) -> Result<(), GitError> {
        self.write(format!("M 100644 {blob} {}\n", quoted(path)).as_bytes()).await
    }

    /// Removes the file or folder at `path`.
    ///
    /// # Errors
    /// [`GitError::Failed`].
    pub async fn delete(&mut self, path: &RepoPath) -> Result<(), GitError> {
        self.write(format!("D {}\n", quoted(path)).as_bytes()).await
    }

    /// Removes everything, to begin with other files.
    ///
    /// # Errors
    /// [`GitError::Failed`].
    pub async fn clear(&mut self) -> Result<(), GitError> {
        self.write(b"deleteall\n").await
    }

    /// Ends the commit: its objects are durable, no branch shows it yet.
    ///
    /// # Errors
    /// [`GitError::Failed`].
    pub async fn finish(mut self) -> Result<Oid, GitError> {
        self.write(b"\nget-mark :1\ndone\n").await?;
        if self.input.flush().await.is_err() {
            return Err(self.broken().await);
        }
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        drop(self.input);
        let status = self.child.wait().await?;
        let oid: Result<Oid, _> = line.trim().parse();
        let (true, Ok(oid)) = (status.success(), oid) else {
            let mut said = Vec::new();
            if let Some(stderr) = self.child.stderr.take() {
                // Without it the failure is only less clear.
                let _ = stderr.take(64 << 10).read_to_end(&mut said).await;
            }
            return Err(failed("fast-import".to_owned(), &said));
        };
        // The stream has to name a ref; the commit is held by the caller from here.
        self.repo.delete_ref(&self.incoming).await?;
        Ok(oid)
    }
}
