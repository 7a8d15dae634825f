//! What calls leave that were killed: parts of objects and packs, and the names by which commits are made.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{GitError, GitRepo};

/// Where commits stand that are being made.
const INCOMING: &str = "refs/incoming";

/// Something that was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its path in the folder of the repository.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// The files below `folder` that are older than `age` and that `which` says yes to, down to this depth.
fn old(folder: &Path, age: Duration, depth: u32, which: fn(&str) -> bool, found: &mut Vec<(PathBuf, u64)>) {
    // What goes away meanwhile is no leftover.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && depth > 0 {
            old(&entry.path(), age, depth - 1, which, found);
        }
        let is_old = |at: SystemTime| at.elapsed().is_ok_and(|elapsed| elapsed >= age);
        let named = entry.file_name().to_str().is_some_and(which);
        if meta.is_file() && named && meta.modified().is_ok_and(is_old) {
            found.push((entry.path(), meta.len()));
        }
    }
}

impl GitRepo {
    /// What killed calls left that is older than `age`: longer than any call takes. Unless it is a dry run it goes.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn leftovers(&self, age: Duration, dry_run: bool) -> Result<Vec<Leftover>, GitError> {
        let dir = self.dir.clone();
        let look = move || {
            let (mut files, mut refs) = (Vec::new(), Vec::new());
            old(&dir.join("objects"), age, 1, |name| name.starts_with("tmp_"), &mut files);
            old(&dir.join(INCOMING), age, 1, |name| !name.ends_with(".lock"), &mut refs);
            let relative = |(path, bytes): (PathBuf, u64)| {
                let name = path.strip_prefix(&dir).ok()?.to_str()?.to_owned();
                Some(Leftover { name, bytes })
            };
            let files: Vec<Leftover> = files.into_iter().filter_map(relative).collect();
            let refs: Vec<Leftover> = refs.into_iter().filter_map(relative).collect();
            (files, refs)
        };
        let (mut files, refs) = tokio::task::spawn_blocking(look).await.map_err(std::io::Error::other)?;
        if !dry_run {
            for file in &files {
                match tokio::fs::remove_file(self.dir.join(&file.name)).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            for name in &refs {
                self.delete_ref(&name.name).await?;
            }
        }
        files.extend(refs);
        Ok(files)
    }
}
