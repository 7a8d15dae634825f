//! Removing what nothing needs: large files that no revision of their repository cites and no path of their bucket, xorbs that no file cites, and what
//! crashes left behind.
//!
//! What is needed is looked for without stopping anybody, so what was seen may be over when it is acted upon. Therefore a
//! thing goes in two steps, at least `min_age` apart. A pass that finds that nothing needs it notes since when
//! (`loose_since`). Whoever is about to cite it takes the note away, in the transaction that cites or before it. A later
//! pass looks again from the beginning, and removes it in one transaction if the note still stands and is old enough.
//! Whatever was sent and is not committed yet is safe as long as it is committed within `min_age`.
//!
//! Rows go before objects, and no object's name is given twice: a crash in between leaves an object that nothing names,
//! which a later pass removes, and never a row without its object.

use std::collections::HashSet;
use std::time::Duration;

use allmende_core::time::Timestamp;
use futures::TryStreamExt as _;
use serde::Serialize;

use super::{XetError, store, table};
use crate::account::store as accounts;
use crate::blobs::Blobs;
use crate::db::{Db, DbError};
use crate::git::Git;
use crate::git::reach::History;
use crate::repo::{self, Repo, RepoError, large};
use crate::transaction;

/// Rows that are read at once.
const PAGE: i64 = 256;
/// Things that are named in a report; more are counted.
const MAX_NAMED: usize = 10_000;

/// What there is to collect from.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The database.
    pub db: &'a Db,
    /// The store of bytes.
    pub blobs: &'a Blobs,
    /// The bare repositories.
    pub git: &'a Git,
}

/// How to collect.
#[derive(Clone, Copy)]
pub struct How<'a> {
    /// How long nothing must have needed a thing.
    pub min_age: Duration,
    /// Nothing is noted or removed, only told.
    pub dry_run: bool,
    /// The time.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
}

/// A thing that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// `file`, `xorb`, `object`, `parts`, `repository` or `leftover`.
    pub kind: &'static str,
    /// Which: a SHA-256, a hash, a name.
    pub name: String,
    /// Whose: the id of a repository, or a domain.
    pub of: String,
    /// Its bytes; 0 where nobody counts.
    pub bytes: u64,
    /// Why nothing needs it.
    pub why: &'static str,
    /// Since when that is known; none if it was not noted yet.
    pub since: Option<Timestamp>,
}

/// How many things, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// Bytes on disk. Files have none of their own: they are made of xorbs.
    pub bytes: u64,
}

/// What a pass found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Removed; with a dry run, what would have been.
    pub removed: Sum,
    /// Needed by nothing, but not for long enough yet.
    pub waiting: Sum,
    /// What was removed, or would have been.
    pub items: Vec<Item>,
    /// What waits.
    pub later: Vec<Item>,
    /// Things that are counted and not named here, because there are too many.
    pub unnamed: u64,
    /// Repositories that could not be looked through; nothing of them was touched.
    pub skipped: Vec<String>,
}

impl Report {
    fn note(&mut self, due: bool, item: Item) {
        let (sum, list) = match due {
            true => (&mut self.removed, &mut self.items),
            false => (&mut self.waiting, &mut self.later),
        };
        sum.count += 1;
        // The bytes of a file are those of its xorbs.
        sum.bytes += if item.kind == "file" { 0 } else { item.bytes };
        if list.len() < MAX_NAMED { list.push(item) } else { self.unnamed += 1 }
    }
}

struct Pass<'a> {
    place: Place<'a>,
    how: How<'a>,
    /// What was noted before this goes.
    before: Timestamp,
    report: Report,
}

/// Looks through everything once. Memory: the pointers of one repository, and the hashes of the xorbs of one domain.
///
/// # Errors
/// What kept it from going on; what was done until then is done. [`RepoError::Invalid`] when the database is another's.
pub async fn collect(place: Place<'_>, how: How<'_>) -> Result<Report, XetError> {
    if accounts::page(&mut *place.db.read().await?, "", 1).await?.is_empty() {
        // To an empty database nothing is needed. It is rather the wrong one than that of a hub whose repositories nobody
        // owns.
        let folders = place.git.folders(Duration::ZERO).await.map_err(RepoError::from)?;
        let object = place.blobs.list_named(table::FOLDER, Duration::ZERO).try_next().await?;
        if !folders.is_empty() || object.is_some() {
            return Err(RepoError::Invalid(
                "the database knows no account, though there are repositories or large files: is it the right one?",
            )
            .into());
        }
    }
    let age_ms = i64::try_from(how.min_age.as_millis()).unwrap_or(i64::MAX);
    let before = (how.now)().plus_ms(age_ms.saturating_neg());
    let mut pass = Pass { place, how, before, report: Report::default() };
    pass.folders().await?;
    pass.orphans().await?;
    let mut after = String::new();
    loop {
        let ids = repo::store::ids(&mut *place.db.read().await?, &after, PAGE).await?;
        let Some(last) = ids.last() else { break };
        after.clone_from(last);
        for id in ids {
            pass.files(&id).await?;
            pass.leftovers(&id).await?;
        }
    }
    let domains = store::domains(&mut *place.db.read().await?).await?;
    for domain in domains {
        pass.xorbs(&domain).await?;
    }
    pass.objects().await?;
    pass.parts().await?;
    Ok(pass.report)
}

impl Pass<'_> {
    fn is_due(&self, since: Option<Timestamp>) -> bool {
        since.is_some_and(|since| since < self.before)
    }

    /// Folders of repositories that are gone, or that never came to be.
    async fn folders(&mut self) -> Result<(), XetError> {
        for id in self.place.git.folders(self.how.min_age).await.map_err(RepoError::from)? {
            if repo::store::by_id(&mut *self.place.db.read().await?, &id).await?.is_some() {
                continue;
            }
            if !self.how.dry_run {
                self.place.git.repo(&id).remove().await.map_err(RepoError::from)?;
            }
            let why = "its repository was deleted, or never finished";
            let item = Item { kind: "repository", name: format!("{id}.git"), of: id, bytes: 0, why, since: None };
            self.report.note(true, item);
        }
        Ok(())
    }

    /// Rows of copies of repositories that never came to be.
    async fn orphans(&mut self) -> Result<(), XetError> {
        for (id, latest) in store::orphans(&mut *self.place.db.read().await?).await? {
            let due = latest < self.before;
            if due && !self.how.dry_run {
                transaction!(self.place.db, tx => { store::forget_orphan(tx, &id).await })?;
            }
            let why = "its repository was deleted, or never finished";
            let since = Some(latest);
            self.report.note(due, Item { kind: "repository", name: id.clone(), of: id, bytes: 0, why, since });
        }
        Ok(())
    }

    /// The files that a repository needs, and why it needs no others. Nothing when that cannot be said.
    async fn cited(&mut self, repo: &Repo) -> Result<Option<(HashSet<String>, &'static str)>, XetError> {
        if !repo.kind.has_history() {
            let cited = repo::bucket::cited(&mut *self.place.db.read().await?, &repo.id).await?;
            return Ok(Some((cited, "no path of its bucket leads to it")));
        }
        let mut cited = HashSet::new();
        let note = |found: crate::git::reach::Cited| {
            cited.insert(found.pointer.sha256);
        };
        if let Err(error) = self.place.git.repo(&repo.id).cited(History::Whole, note).await {
            // It may have been deleted a moment ago. Otherwise whoever reads this has more to do than to free space.
            if repo::store::by_id(&mut *self.place.db.read().await?, &repo.id).await?.is_some() {
                let id = repo.id.as_str();
                tracing::error!(repo = id, %error, "a repository cannot be looked through: nothing of it is collected");
                self.report.skipped.push(format!("{id}: {error}"));
            }
            return Ok(None);
        }
        Ok(Some((cited, "no branch, tag or pull request leads to it")))
    }

    /// Large files of a repository that none of its revisions cites, and those of a bucket that stand nowhere in it.
    async fn files(&mut self, id: &str) -> Result<(), XetError> {
        let found = repo::store::by_id(&mut *self.place.db.read().await?, id).await?;
        // It may have been deleted a moment ago.
        let Some(repo) = found else { return Ok(()) };
        if repo.kind.has_history() && !self.how.dry_run {
            let git = self.place.git.repo(id);
            if let Err(error) = repo::history::measure(self.place.db, &repo, &git).await {
                tracing::warn!(repo = id, %error, "what a history occupies was not measured");
            }
        }
        let Some((cited, why)) = self.cited(&repo).await? else { return Ok(()) };
        let mut after = String::new();
        loop {
            let page = large::notes(&mut *self.place.db.read().await?, id, &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.sha256);
            for file in page {
                let large::Note { sha256, size, since } = file;
                if cited.contains(&sha256) {
                    if since.is_some() && !self.how.dry_run {
                        transaction!(self.place.db, tx => { large::note(tx, id, &sha256, None).await })?;
                    }
                    continue;
                }
                let mut due = self.is_due(since);
                if !self.how.dry_run {
                    let now = (self.how.now)();
                    due = transaction!(self.place.db, tx => {
                        if due && large::collect(tx, id, &sha256, self.before).await? {
                            return Ok(true);
                        }
                        large::note(tx, id, &sha256, Some(now)).await?;
                        Ok::<_, DbError>(false)
                    })?;
                }
                let of = id.to_owned();
                self.report.note(due, Item { kind: "file", name: sha256, of, bytes: size, why, since });
            }
        }
    }

    /// What calls of git left that were killed.
    async fn leftovers(&mut self, id: &str) -> Result<(), XetError> {
        match self.place.git.repo(id).leftovers(self.how.min_age, self.how.dry_run).await {
            Ok(found) => {
                for left in found {
                    let (of, why) = (id.to_owned(), "a call of git that was killed left it");
                    let item = Item { kind: "leftover", name: left.name, of, bytes: left.bytes, why, since: None };
                    self.report.note(true, item);
                }
            }
            // It may have been deleted a moment ago, and nothing is lost by waiting.
            Err(error) => tracing::warn!(repo = id, %error, "what calls of git left was not removed"),
        }
        Ok(())
    }

    /// Xorbs that no file cites.
    async fn xorbs(&mut self, domain: &str) -> Result<(), XetError> {
        let mut cited = HashSet::new();
        let mut after = (String::new(), String::new());
        loop {
            let page = store::segments(&mut *self.place.db.read().await?, domain, (&after.0, &after.1), PAGE).await?;
            let Some((repo, hash, _)) = page.last() else { break };
            after = (repo.clone(), hash.clone());
            cited.extend(page.iter().flat_map(|(.., segments)| segments.iter().map(|segment| segment.xorb)));
        }
        let mut after = String::new();
        loop {
            let page = store::notes(&mut *self.place.db.read().await?, domain, &after, PAGE).await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = last.to_string();
            for (hash, size, since) in page {
                if cited.contains(&hash) {
                    if since.is_some() && !self.how.dry_run {
                        transaction!(self.place.db, tx => { store::note(tx, domain, &hash, None).await })?;
                    }
                    continue;
                }
                let mut due = self.is_due(since);
                if !self.how.dry_run {
                    let now = (self.how.now)();
                    let gone = transaction!(self.place.db, tx => {
                        if due && let Some(gone) = store::collect(tx, domain, &hash, self.before).await? {
                            return Ok(Some(gone));
                        }
                        store::note(tx, domain, &hash, Some(now)).await?;
                        Ok::<_, DbError>(None)
                    })?;
                    due = gone.is_some();
                    if let Some(gone) = gone {
                        self.place.blobs.delete_named(&gone.name).await?;
                    }
                }
                let (name, of) = (hash.to_string(), domain.to_owned());
                let why = "no file cites it";
                self.report.note(due, Item { kind: "xorb", name, of, bytes: size, why, since });
            }
        }
    }

    /// Objects that no row names: what crashes left.
    async fn objects(&mut self) -> Result<(), XetError> {
        let mut objects = self.place.blobs.list_named(table::FOLDER, self.how.min_age);
        while let Some((name, bytes)) = objects.try_next().await? {
            let text = name.to_string();
            // What has no name of ours is not ours.
            let Some((domain, hash)) = table::named(&text) else { continue };
            let stored = store::xorb(&mut *self.place.db.read().await?, domain, &hash).await?;
            if stored.is_some_and(|stored| stored.name == name) {
                continue;
            }
            if !self.how.dry_run {
                self.place.blobs.delete_named(&name).await?;
            }
            let of = domain.to_owned();
            let why = "a crash or another sender left it: nothing names it";
            self.report.note(true, Item { kind: "object", name: text, of, bytes, why, since: None });
        }
        Ok(())
    }

    /// Parts of large files that were never joined.
    async fn parts(&mut self) -> Result<(), XetError> {
        let mut parts = self.place.blobs.list_parts(self.how.min_age);
        while let Some((name, bytes)) = parts.try_next().await? {
            if !self.how.dry_run {
                self.place.blobs.delete_named(&name).await?;
            }
            let why = "its upload was never finished";
            let item = Item { kind: "parts", name: name.to_string(), of: String::new(), bytes, why, since: None };
            self.report.note(true, item);
        }
        Ok(())
    }
}
