//! A dataset as its main branch is now. Whoever opens it has made sure that its files may be read.

use super::{Config, Format, Split, Table, configs};
use crate::app::App;
use crate::content::ContentError;
use crate::git::tree::EntryKind;
use crate::git::{GitRepo, Oid};
use crate::repo::{Repo, card};

/// What a dataset is made of.
#[derive(Debug)]
pub struct Opened {
    /// Its history.
    pub git: GitRepo,
    /// The commit that is looked at.
    pub commit: Oid,
    /// Its configurations.
    pub configs: Vec<Config>,
    /// Paths and bytes of all files that hold rows.
    pub sizes: Vec<(String, u64)>,
}

impl Opened {
    /// Looks what is on the main branch.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn of(app: &App, repo: &Repo) -> Result<Self, ContentError> {
        let git = app.git.repo(&repo.id);
        let commit = git.resolve("main").await?;
        let mut entries = git.tree(commit, None, true).await?;
        entries.retain(|entry| entry.kind == EntryKind::File);
        let head = card::head(&git, commit).await?;
        let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        let configs = configs(head.card.as_ref(), &paths);
        entries.retain(|entry| Format::of(&entry.path).is_some());
        git.pointers(&mut entries).await?;
        let sizes = entries.iter().map(|entry| (entry.path.clone(), entry.file_size())).collect();
        Ok(Self { git, commit, configs, sizes })
    }

    /// The bytes of a part's files.
    #[must_use]
    pub fn size_of(&self, split: &Split) -> u64 {
        let of = |path: &String| self.sizes.iter().find(|(known, _)| known == path).map_or(0, |(_, size)| *size);
        split.files.iter().map(of).sum()
    }

    /// A part of a configuration; the first where none is named. What is missing is said by its word.
    ///
    /// # Errors
    /// `config` or `split`.
    pub fn find(&self, config: Option<&str>, split: Option<&str>) -> Result<(&Config, &Split), &'static str> {
        let config = self.configs.iter().find(|c| config.is_none_or(|name| c.name == name)).ok_or("config")?;
        let split = config.splits.iter().find(|s| split.is_none_or(|name| s.name == name)).ok_or("split")?;
        Ok((config, split))
    }

    /// The rows of a part.
    ///
    /// # Errors
    /// [`ContentError`] when one of its files is not held.
    pub async fn table<'a>(&self, app: &'a App, repo: &'a Repo, split: &Split) -> Result<Table<'a>, ContentError> {
        Table::open(app, repo, &self.git, self.commit, split).await
    }
}
