//! Files and folders of a revision.

use super::objects::{MAX_POINTER_BYTES, MIN_POINTER_BYTES, Pointer};
use super::reader::Ask;
use super::{GitError, GitRepo, Oid, RepoPath};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file, executable or not.
    File,
    /// A symbolic link: its blob is the target's text and is never followed.
    Link,
    /// A folder.
    Folder,
    /// A commit of another repository.
    Module,
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Of the blob or the tree.
    pub oid: Oid,
    /// Bytes of the blob; 0 for folders.
    pub size: u64,
    /// From the root.
    pub path: String,
    /// What the blob stands for, once [`GitRepo::pointers`] has looked.
    pub pointer: Option<Pointer>,
}

impl Entry {
    /// Bytes of the file itself.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        self.pointer.as_ref().map_or(self.size, |pointer| pointer.size)
    }
}

fn entry(line: &[u8], prefix: &str) -> Result<Entry, GitError> {
    let text = std::str::from_utf8(line).map_err(|_| GitError::Answer("a path is no UTF-8"))?;
    let bad = || GitError::Answer("a line of a tree");
    let (head, path) = text.split_once('\t').ok_or_else(bad)?;
    let mut fields = head.split_ascii_whitespace();
    let (mode, _, oid, size) = (fields.next(), fields.next(), fields.next(), fields.next());
    let kind = match mode.ok_or_else(bad)? {
        "040000" => EntryKind::Folder,
        "120000" => EntryKind::Link,
        "160000" => EntryKind::Module,
        _ => EntryKind::File,
    };
    Ok(Entry {
        kind,
        oid: oid.ok_or_else(bad)?.parse()?,
        size: size.ok_or_else(bad)?.parse().unwrap_or(0),
        path: format!("{prefix}{path}"),
        pointer: None,
    })
}

impl GitRepo {
    /// What `folder` of `commit` holds, in git's order; with what its folders hold if `recursive`.
    ///
    /// # Errors
    /// [`GitError::NoEntry`] when there is no such folder.
    pub async fn tree(&self, commit: Oid, folder: Option<&RepoPath>, recursive: bool) -> Result<Vec<Entry>, GitError> {
        let tree = folder.map_or_else(|| commit.to_string(), |folder| format!("{commit}:{folder}"));
        let mut args = vec!["ls-tree", "-z", "-l"];
        if recursive {
            args.extend(["-r", "-t"]);
        }
        args.extend(["--end-of-options", &tree]);
        let answer = match self.run(args, &[]).await {
            Err(GitError::Failed { .. }) if folder.is_some() => {
                return Err(GitError::NoEntry(folder.map(ToString::to_string).unwrap_or_default()));
            }
            answer => answer?,
        };
        let prefix = folder.map_or_else(String::new, |folder| format!("{folder}/"));
        answer.split(|&c| c == 0).filter(|line| !line.is_empty()).map(|line| entry(line, &prefix)).collect()
    }

    /// The entries at these paths of `commit`; those that are not there are left out.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn entries(&self, commit: Oid, paths: &[RepoPath]) -> Result<Vec<Entry>, GitError> {
        let mut found = Vec::with_capacity(paths.len());
        // A call's arguments are limited by the system.
        for some in paths.chunks(200) {
            let commit = commit.to_string();
            let mut args = vec!["ls-tree", "-z", "-l", "-t", "--full-tree", "--end-of-options", &commit, "--"];
            args.extend(some.iter().map(RepoPath::as_str));
            let answer = self.run(args, &[]).await?;
            for line in answer.split(|&c| c == 0).filter(|line| !line.is_empty()) {
                let entry = entry(line, "")?;
                // A path that goes through a folder shows the folder's line only if it was asked for.
                if some.iter().any(|path| path.as_str() == entry.path) {
                    found.push(entry);
                }
            }
        }
        Ok(found)
    }

    /// The entry at `path`.
    ///
    /// # Errors
    /// [`GitError::NoEntry`].
    pub async fn entry(&self, commit: Oid, path: &RepoPath) -> Result<Entry, GitError> {
        let found = self.entries(commit, std::slice::from_ref(path)).await?;
        found.into_iter().next().ok_or_else(|| GitError::NoEntry(path.to_string()))
    }

    /// The file at `path`, and what it stands for if it is a pointer. A symbolic link is a file of its target's text here.
    ///
    /// # Errors
    /// [`GitError::NoEntry`], also for a folder.
    pub async fn file(&self, commit: Oid, path: &RepoPath) -> Result<Entry, GitError> {
        let found = self.objects(Ask::Info, &[format!("{commit}:{path}")]).await?.pop().flatten();
        let Some(object) = found.filter(|object| object.kind == "blob") else {
            return Err(GitError::NoEntry(path.to_string()));
        };
        let (kind, path) = (EntryKind::File, path.as_str().to_owned());
        let mut entry = [Entry { kind, oid: object.oid, size: object.size, path, pointer: None }];
        self.pointers(&mut entry).await?;
        let [entry] = entry;
        Ok(entry)
    }

    /// Looks which of the entries are pointers to large files.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn pointers(&self, entries: &mut [Entry]) -> Result<(), GitError> {
        let small = |e: &Entry| e.kind == EntryKind::File && (MIN_POINTER_BYTES..=MAX_POINTER_BYTES).contains(&e.size);
        let oids: Vec<Oid> = entries.iter().filter(|e| small(e)).map(|e| e.oid).collect();
        let blobs = self.blobs(&oids).await?;
        for (entry, blob) in entries.iter_mut().filter(|e| small(e)).zip(blobs) {
            entry.pointer = blob.and_then(|bytes| Pointer::parse(&bytes));
        }
        Ok(())
    }
}
