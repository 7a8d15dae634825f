//! `repository`: which repositories of the hub stand under the terms, and how they get from hub to hub. What is in them is for
//! the tools that people have.

use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::Failure;
use super::member::Member;
use super::table::Table;
use super::{bundle, mirror};
use crate::client::repositories::RepositoryPath;
use crate::view;

/// Put repositories under the terms, and carry them from hub to hub.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value per process")]
pub enum Repository {
    /// List the repositories under the terms, releases included
    List(List),
    /// Put a repository of yours under the terms
    Place(Place),
    /// Take a repository of yours back at once
    Withdraw(Withdraw),
    /// Write a repository into one signed file
    Export(bundle::Export),
    /// Look through such a file without a hub
    Inspect(bundle::Inspect),
    /// Bring such a file to a hub
    Import(bundle::Import),
    /// Follow repositories of other hubs
    #[command(subcommand)]
    Mirror(mirror::Mirror),
}

impl Repository {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.run(context).await,
            Self::Place(command) => command.run(context).await,
            Self::Withdraw(command) => command.run(context).await,
            Self::Export(command) => command.run(context).await,
            Self::Inspect(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
            Self::Mirror(command) => command.run(context).await,
        }
    }
}

/// List the repositories under the terms, from this member's own verified copy of the log.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository list")]
pub struct List {}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let found = view::repositories(member.state());
        context.out.result(&found, || {
            let mut table = Table::new(&["repository", "holds", "since", "let in", "state"]);
            for r in &found {
                let state =
                    r.withdrawn_at.as_ref().map_or("under the terms".to_owned(), |at| format!("taken back {at}"));
                table.row([r.repository.clone(), r.class.clone(), r.placed_at.clone(), r.granted.join(", "), state]);
            }
            table.render_or("no repository stands under the terms yet: 'allmende repository place', or release a model")
        })
    }
}

/// Put a repository of yours under the terms: it is no longer public, and others may do with it what the terms permit.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository place datasets/north/open-set\n\n\
    The terms speak of it as the asset north/open-set: a clause such as\n  \
    { kind = \"permit\", action = \"read\", assets = [\"north/open-set\"], by = [\"all\"] }\n\
    lets all members download it with 'hf download' or 'git clone'.")]
pub struct Place {
    /// The repository: models/OWNER/NAME, datasets/OWNER/NAME or buckets/OWNER/NAME
    repository: RepositoryPath,
}

impl Place {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let collaboration = member.collaboration.clone();
        member.writing_hub()?.place_repository(&collaboration, &self.repository).await?;
        let said = serde_json::json!({ "repository": self.repository, "collaboration": collaboration, "placed": true });
        context.out.result(&said, || format!("{} stands under the terms of {collaboration}", self.repository))
    }
}

/// Take a repository of yours back, at once and without a vote. It stays private until you say otherwise.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository withdraw datasets/north/open-set")]
pub struct Withdraw {
    /// The repository: models/OWNER/NAME, datasets/OWNER/NAME or buckets/OWNER/NAME
    repository: RepositoryPath,
}

impl Withdraw {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let collaboration = member.collaboration.clone();
        member.writing_hub()?.withdraw_repository(&collaboration, &self.repository).await?;
        let said =
            serde_json::json!({ "repository": self.repository, "collaboration": collaboration, "placed": false });
        context.out.result(&said, || format!("{} stands under no terms any more", self.repository))
    }
}
