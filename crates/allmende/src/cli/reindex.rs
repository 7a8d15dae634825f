//! `hub reindex`: the database's word on histories, by git's.

use clap::Args;

use super::config::SettingsArgs;
use super::context::Context;
use super::failure::Failure;
use super::hub::all_looked_through;
use super::table::{Table, fields};
use crate::db::{Db, DbOptions};
use crate::git::Git;
use crate::repo::reindex::{Finding, Place, reindex};
use crate::repo::{Kind, RepoError};

/// Longest that a line of the table shows of a value, in characters.
const SHOWN: usize = 40;

/// Write anew what the database says of the histories of repositories and git says too, also while the hub runs: cards, tags and
/// sizes as lists show them, and which large files a revision cites. Git's word counts. A hub does the same by itself, within
/// a minute, for what a process that was killed has left; this is for a database that was damaged, restored or edited. What
/// is being written at this moment may be shown as wrong.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende hub reindex --dry-run --data-dir /srv/allmende\n  allmende hub reindex datasets/north/digits --data-dir /srv/allmende"
)]
pub struct Reindex {
    /// Only this one, instead of all: 'owner/name' of a model, otherwise with 'datasets/', 'spaces/' or 'codes/' in front
    repository: Option<String>,
    /// Only say what is wrong
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Kind, owner and name of a repository as it is called on a command line.
fn called(text: &str) -> Option<(Kind, &str, &str)> {
    let mut parts = text.split('/');
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next());
    let (kind, owner, name) = match third {
        None => (Kind::Model, first, second),
        Some(name) => {
            (Kind::ALL.into_iter().find(|kind| kind.prefix().strip_suffix('/') == Some(first))?, second, name)
        }
    };
    (parts.next().is_none() && !owner.is_empty() && !name.is_empty()).then_some((kind, owner, name))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN { text.to_owned() } else { text.chars().take(SHOWN).chain(['…']).collect() }
}

impl Reindex {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let only = match self.repository.as_deref() {
            None => None,
            Some(text) => Some(called(text).ok_or_else(|| {
                Failure::usage(format!("'{text}' is no repository"))
                    .next("say 'owner/name' for a model, 'datasets/owner/name' for a dataset")
            })?),
        };
        let config = self.settings.layers()?.build()?;
        let db = Db::open(&DbOptions::from(&config), context.now()).await.map_err(Failure::internal)?;
        let git = Git::open(&config.git_dir()).await.map_err(Failure::internal)?;
        let bar = context.out.spinner("repositories looked through");
        let place = Place { db: &db, git: &git, now: &|| context.now(), dry_run: self.dry_run };
        let report = reindex(place, only, &|done| bar.set_position(done)).await;
        bar.finish_and_clear();
        db.close().await;
        let report = report.map_err(|error| match error {
            RepoError::NotFound => Failure::usage("there is no such repository")
                .code("not_found")
                .next("give the hub's --data-dir or --database-url, and the kind in front if it is no model"),
            error => Failure::internal(error),
        })?;
        context.out.result(&report, || {
            let table = |title: &str, found: &[Finding]| {
                let mut table = Table::new(&["repository", title, "which", "the database", "git"]);
                for Finding { repository, what, name, was, is } in found {
                    table.row([repository.clone(), (*what).to_owned(), cut(name), cut(was), cut(is)]);
                }
                if found.is_empty() { String::new() } else { format!("{table}\n") }
            };
            let mut text = table(if self.dry_run { "wrong" } else { "put right" }, &report.wrong);
            text += &table("not to be had", &report.missing);
            text += &fields([
                ("repositories", report.repositories.to_string()),
                (if self.dry_run { "wrong" } else { "put right" }, report.wrong.len().to_string()),
                ("cited, and bytes nowhere", report.missing.len().to_string()),
                ("not named here", report.unnamed.to_string()),
            ]);
            report.skipped.iter().fold(text, |text, skipped| text + "left alone: " + skipped + "\n")
        })?;
        all_looked_through(&report.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_called() {
        assert_eq!(called("north/bert"), Some((Kind::Model, "north", "bert")));
        assert_eq!(called("datasets/north/digits"), Some((Kind::Dataset, "north", "digits")));
        for bad in ["bert", "x/north/bert", "datasets/north/digits/x", "/bert", "north/"] {
            assert_eq!(called(bad), None, "{bad}");
        }
    }
}
