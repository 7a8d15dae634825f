//! Branches, tags and the refs of pull requests.

use std::collections::HashMap;
use std::time::Duration;

use super::gate::Gate;
use super::reader::Ask;
use super::{GitError, GitRepo, Oid};

/// Most refs of one repository that are listed.
const MAX_REFS: usize = 100_000;

/// Longest that refs may take to move.
const REF_TIMEOUT: Duration = Duration::from_secs(20);
/// A lock that is older belongs to nobody: every call was given up before, or it is stopped and must not go on.
const LOCK_AGE: Duration = Duration::from_secs(25);
/// How often a call is made again that others got in the way of.
const MAX_ATTEMPTS: u32 = 5;

/// A ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// In full: `refs/heads/main`.
    pub name: String,
    /// The commit that it leads to, through a tag's own object if there is one.
    pub commit: Oid,
}

/// A change of one ref: from `old` to `new`, where the zero id stands for a ref that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// In full.
    pub name: String,
    /// Where it must be before.
    pub old: Oid,
    /// Where it is after.
    pub new: Oid,
}

/// Whether `name` may be part of a ref's name, by git's own rules and without anything that a shell of ours would notice.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock") && !part.ends_with('.');
    let bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '\u{7f}');
    (1..=200).contains(&name.len())
        && name != "@"
        && !name.starts_with('-')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.chars().any(bad)
        && name.split('/').all(part)
}

/// How a call ended that did not fail by itself.
enum Ended {
    /// It did what it was to do, and this gate is the latest that it knows.
    Done(Gate),
    /// Its gate was closed. What it did before stands.
    Fenced,
}

/// The lock that kept git from its work, by its own words.
fn lock_of(said: &str) -> Option<&str> {
    said.split_once("Unable to create '")?.1.split_once("': File exists").map(|(path, _)| path)
}

impl GitRepo {
    /// The commit that a revision names: a branch, a tag, a ref in full, or a commit's id (whole, or its first seven or
    /// more digits).
    ///
    /// # Errors
    /// [`GitError::NoRevision`].
    pub async fn resolve(&self, revision: &str) -> Result<Oid, GitError> {
        let unknown = || GitError::NoRevision(revision.chars().take(200).collect());
        if !is_valid_name(revision) {
            return Err(unknown());
        }
        let mut names = Vec::new();
        if revision.starts_with("refs/") {
            names.push(revision.to_owned());
        } else {
            names.push(format!("refs/heads/{revision}"));
            names.push(format!("refs/tags/{revision}"));
            names.push(format!("refs/{revision}"));
            let hex = revision.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
            if hex && (7..=40).contains(&revision.len()) {
                names.push(revision.to_owned());
            }
        }
        for name in &mut names {
            name.push_str("^{commit}");
        }
        let found = self.objects(Ask::Info, &names).await?.into_iter().flatten().find(|object| object.kind == "commit");
        found.map(|object| object.oid).ok_or_else(unknown)
    }

    /// All refs that begin with `prefix`, by name.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn refs(&self, prefix: &str) -> Result<Vec<Ref>, GitError> {
        let count = format!("--count={MAX_REFS}");
        let format = "--format=%(refname)%00%(objectname)%00%(*objectname)";
        let answer = self.run(["for-each-ref", &count, format, prefix], &[]).await?;
        let answer = String::from_utf8(answer).map_err(|_| GitError::Answer("a ref's name is no UTF-8"))?;
        answer
            .lines()
            .map(|line| {
                let mut fields = line.split('\0');
                let (name, own, peeled) = (fields.next(), fields.next(), fields.next());
                let commit =
                    peeled.filter(|oid| !oid.is_empty()).or(own).ok_or(GitError::Answer("a ref without id"))?;
                Ok(Ref { name: name.unwrap_or_default().to_owned(), commit: commit.parse()? })
            })
            .collect()
    }

    /// Changes refs, all or none.
    ///
    /// # Errors
    /// [`GitError::Moved`] when one is not where its change begins.
    pub async fn change_refs(&self, changes: &[Change]) -> Result<(), GitError> {
        self.change_refs_through(&mut self.gate().await?, changes).await
    }

    /// The same through a gate that was open before. Once somebody else has closed it nothing moves; where this call closes
    /// it, to take over a lock, it goes on through the next.
    ///
    /// # Errors
    /// [`GitError::Moved`] when one is not where its change begins, or the gate is closed.
    pub async fn change_refs_through(&self, gate: &mut Gate, changes: &[Change]) -> Result<(), GitError> {
        let mut input = String::from("start\0");
        for Change { name, old, new } in changes {
            if !name.starts_with("refs/") || !is_valid_name(name) {
                return Err(GitError::BadRef(name.clone()));
            }
            match (*old == Oid::ZERO, *new == Oid::ZERO) {
                (_, true) => input.push_str(&format!("delete {name}\0{old}\0")),
                (true, false) => input.push_str(&format!("create {name}\0{new}\0")),
                (false, false) => input.push_str(&format!("update {name}\0{new}\0{old}\0")),
            }
        }
        input.push_str("prepare\0commit\0");
        let moved = || GitError::Moved(changes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "));
        match self.update_ref(gate.clone(), &["--stdin", "-z"], input).await {
            Ok(Ended::Done(latest)) => {
                *gate = latest;
                Ok(())
            }
            // It may have been past the gate before it was closed.
            Ok(Ended::Fenced) if self.are_done(changes).await? => Ok(()),
            Ok(Ended::Fenced) => Err(moved()),
            Err(GitError::Failed { said, .. }) if said.contains("but expected") || said.contains("cannot lock ref") => {
                Err(moved())
            }
            Err(other) => Err(other),
        }
    }

    /// Whether each ref stands where its change puts it.
    async fn are_done(&self, changes: &[Change]) -> Result<bool, GitError> {
        let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        let standing = self.values(&names).await?;
        let at = |name: &str| standing.get(name).copied().unwrap_or(Oid::ZERO);
        Ok(changes.iter().all(|change| at(&change.name) == change.new))
    }

    /// The own objects of the refs of these full names, as far as they are there.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn values(&self, names: &[&str]) -> Result<HashMap<String, Oid>, GitError> {
        let tips = self.tips(names).await?;
        Ok(tips.into_iter().filter(|tip| names.contains(&tip.name.as_str())).map(|tip| (tip.name, tip.oid)).collect())
    }

    /// Git's own call that moves refs. What it finds locked by a call that died, or that is stopped, it takes over.
    async fn update_ref(&self, gate: Gate, args: &[&str], input: String) -> Result<Ended, GitError> {
        let args: Vec<String> = std::iter::once(&"update-ref").chain(args).map(ToString::to_string).collect();
        let repo = self.clone();
        // In a task of its own: a call that is broken off would leave its locks.
        let call = tokio::spawn(async move {
            let (mut gate, mut tries) = (gate, 0);
            loop {
                tries += 1;
                let inner = repo.through(&gate);
                let error = match tokio::time::timeout(REF_TIMEOUT, inner.run(&args, input.as_bytes())).await {
                    Ok(Ok(_)) => return Ok(Ended::Done(gate)),
                    Ok(Err(error)) => error,
                    Err(_) => GitError::Slow("update-ref".to_owned()),
                };
                let lock = if let GitError::Failed { said, .. } = &error { lock_of(said) } else { None };
                let age = match lock {
                    Some(lock) => inner.age_of(lock).await?,
                    None => Some(Duration::ZERO),
                };
                match age {
                    Some(age) if age > LOCK_AGE => match repo.close(&gate).await? {
                        Some(next) => gate = next,
                        None => return Ok(Ended::Fenced),
                    },
                    _ if !repo.is_open(&gate).await? => return Ok(Ended::Fenced),
                    None if tries < MAX_ATTEMPTS => {}
                    _ => return Err(error),
                }
            }
        });
        call.await.map_err(std::io::Error::other)?
    }

    /// How old a lock is; nothing if it is gone.
    async fn age_of(&self, lock: &str) -> Result<Option<Duration>, GitError> {
        let path = std::path::Path::new(lock);
        if !path.starts_with(&self.dir) || path.extension().is_none_or(|extension| extension != "lock") {
            return Ok(Some(Duration::ZERO));
        }
        match tokio::fs::metadata(path).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            found => Ok(Some(found?.modified()?.elapsed().unwrap_or_default())),
        }
    }

    /// Whether `old` leads to `new` by adding commits only.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn is_ancestor(&self, old: Oid, new: Oid) -> Result<bool, GitError> {
        let upon = format!("^{new}");
        let args = ["rev-list", "--max-count=1", "--end-of-options", &old.to_string(), &upon];
        Ok(self.run(args, &[]).await?.is_empty())
    }

    /// Removes a ref of this program's own, wherever it leads.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn delete_ref(&self, name: &str) -> Result<(), GitError> {
        if !name.starts_with("refs/") || !is_valid_name(name) {
            return Err(GitError::BadRef(name.to_owned()));
        }
        for _ in 0..MAX_ATTEMPTS {
            if let Ended::Done(_) = self.update_ref(self.gate().await?, &["-d", name], String::new()).await? {
                return Ok(());
            }
        }
        Err(GitError::Moved(name.to_owned()))
    }

    /// What a tag of this name leads to: an object with a message, or without one the commit itself. No ref leads to it yet.
    ///
    /// # Errors
    /// [`GitError::BadRef`].
    pub async fn tag(&self, name: &str, commit: Oid, message: Option<&str>, tagger: &str) -> Result<Oid, GitError> {
        if !is_valid_name(&format!("refs/tags/{name}")) {
            return Err(GitError::BadRef(name.to_owned()));
        }
        match message {
            None => Ok(commit),
            Some(message) => {
                let object = format!("object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message}\n");
                let answer = self.run(["mktag"], object.as_bytes()).await?;
                String::from_utf8_lossy(&answer).trim().parse()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_valid_name, lock_of};

    #[test]
    fn what_git_says_of_a_lock() {
        let said = "fatal: prepare: cannot lock ref 'refs/heads/main': Unable to create '/x/y.git/refs/heads/main.lock': \
                    File exists.\n\nAnother git process seems to be running";
        assert_eq!(lock_of(said), Some("/x/y.git/refs/heads/main.lock"));
        assert_eq!(lock_of("cannot lock ref 'refs/heads/main': is at 1 but expected 2"), None);
    }

    #[test]
    fn names_of_refs() {
        for good in ["main", "v1.0", "feature/x", "refs/pr/1", "a@b", "ä"] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in [
            "",
            "-x",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "@{u}",
            "@",
            "a/",
            "/a",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.",
            "a\\b",
            "a*",
            "a[",
            "a\n",
            "HEAD^{tree}",
        ] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
    }
}
