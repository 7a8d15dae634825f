//! `repository mirror`: repositories that follow another hub's.

use std::path::PathBuf;
use std::time::Duration;

use allmende_core::digest::Digest;
use allmende_core::signature::PublicKey;
use allmende_core::time::Timestamp;
use clap::{Args, Subcommand};

use super::bundle::{Reach, first_line};
use super::context::Context;
use super::failure::{Exit, Failure};
use super::table::{Table, fields};
use super::words::{code, parse_duration_ms};
use crate::client::bundles::HistoryPath;
use crate::client::http::HubClient;
use crate::mirror::view::{MirrorState, MirrorView, MirrorWanted};

/// How often a mirror that is waited for is asked how it stands.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Follow repositories of other hubs.
#[derive(Debug, Subcommand)]
pub enum Mirror {
    /// Follow another hub's repository, or change how one is followed
    Add(Add),
    /// List the mirrors that you administrate
    List(List),
    /// Show how a mirror stands
    Show(Show),
    /// Look at a mirror's source now
    Sync(Sync),
    /// Let a mirror stand on its own: it follows no more and may be written to
    Remove(Remove),
}

impl Mirror {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Add(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Sync(command) => command.run(context).await,
            Self::Remove(command) => command.run(context).await,
        }
    }
}

const fn word(state: MirrorState) -> &'static str {
    match state {
        MirrorState::Waiting => "waiting",
        MirrorState::Syncing => "syncing",
        MirrorState::Current => "current",
        MirrorState::Failed => "failed",
    }
}

fn when(at: Option<i64>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| Timestamp(at).to_string())
}

fn source(view: &MirrorView) -> String {
    if view.url.is_empty() { format!("bundles of {}", view.source) } else { format!("{} {}", view.url, view.source) }
}

fn shown(view: &MirrorView) -> String {
    let mut text = fields([
        ("mirror", view.repository.clone()),
        ("of", source(view)),
        ("signed by", if view.signer.is_empty() { "whoever comes first".to_owned() } else { view.signer.clone() }),
        ("state", word(view.state).to_owned()),
        ("as of", when(view.synced_at)),
        ("looked at", if view.every_s == 0 { "when asked".to_owned() } else { format!("every {} s", view.every_s) }),
        (
            "fetched",
            format!("{} bytes, of which {} bytes of chunks were stored", view.fetched_bytes, view.stored_bytes),
        ),
    ]);
    if let Some(error) = &view.error {
        text += &format!("failed: {error}\n");
    }
    if view.lacking > 0 {
        text += &format!("{} large files of its history were deleted at the source and are not there\n", view.lacking);
    }
    for r in &view.rewritten {
        text += &format!("{}: {} was rewritten, {} to {}\n", Timestamp(r.at), r.name, &r.old[..12], &r.new[..12]);
    }
    text
}

/// Waits until nothing is under way any more.
async fn waited(context: &Context, hub: &HubClient, repository: &HistoryPath) -> Result<MirrorView, Failure> {
    let bar = context.out.spinner("syncing");
    loop {
        let view = hub.mirror(repository).await?;
        bar.set_message(format!("syncing, {} bytes came", view.fetched_bytes));
        let due = view.next_at.is_some_and(|at| at <= context.now().0);
        if !due && view.state != MirrorState::Syncing && view.state != MirrorState::Waiting {
            bar.finish_and_clear();
            return match &view.error {
                None => Ok(view),
                Some(error) => Err(Failure::new(Exit::Failure, error.clone())
                    .code("mirror.failed")
                    .because(format!("{repository} stands as it stood at {}", when(view.synced_at)))),
            };
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Follow another hub's repository: a copy that nobody writes to, private until you say otherwise, with the same commits. It
/// fetches what is new, chunk by chunk.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende repository mirror add https://hub.north.example models/north/digits --as south/digits \
    --every 1h --signer ed25519:… --source-token-file token\n\n\
    Without --signer the mirror keeps to the first key that it sees. A repository under terms may be mirrored if its terms let \
    the token's owner take it out. Given again it changes how the mirror follows."
)]
pub struct Add {
    /// The other hub's address
    url: String,
    /// The repository there: models/OWNER/NAME, datasets/OWNER/NAME, spaces/OWNER/NAME or codes/OWNER/NAME
    source: HistoryPath,
    /// What it is called here
    #[arg(long = "as", value_name = "OWNER/NAME")]
    name: HistoryPath,
    /// A file whose first line is a token of the other hub that may read it; '-' is standard input
    #[arg(long, value_name = "FILE")]
    source_token_file: Option<PathBuf>,
    /// How often it is looked at, such as 10m or 1h; 0s is when asked alone
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration_ms)]
    every: u64,
    /// The other hub's key, as its operator told you by another way
    #[arg(long, value_name = "KEY", value_parser = code::<PublicKey>)]
    signer: Option<PublicKey>,
    /// SHA-256 of the other hub's TLS public key, where its certificate is its own; 'allmende serve' prints it there
    #[arg(long, value_name = "PIN", value_parser = code::<Digest>)]
    source_tls_pin: Option<Digest>,
    /// Let files in that run code when they are loaded
    #[arg(long)]
    allow_pickles: bool,
    /// Wait until the first look is done
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Add {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let hub = self.reach.client(context, true)?;
        let name = self.name.of_kind(self.source.kind);
        let wanted = MirrorWanted {
            url: self.url,
            source: self.source.full_name(),
            token: self.source_token_file.as_deref().map(first_line).transpose()?,
            every_s: self.every.div_ceil(1_000),
            signer: self.signer.map(|key| key.to_string()),
            tls_pin: self.source_tls_pin.map(|pin| pin.to_string()),
            pickles_allowed: self.allow_pickles,
        };
        let mut view = hub.put_mirror(&name, &wanted).await?;
        if self.wait {
            view = waited(context, &hub, &name).await?;
        }
        context.out.result(&view, || shown(&view))
    }
}

/// List the mirrors that you administrate.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository mirror list")]
pub struct List {
    #[command(flatten)]
    reach: Reach,
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let hub = self.reach.client(context, false)?;
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = hub.mirrors(&after).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        context.out.result(&all, || {
            let mut table = Table::new(&["mirror", "of", "state", "as of"]);
            for view in &all {
                table.row([view.repository.clone(), source(view), word(view.state).to_owned(), when(view.synced_at)]);
            }
            table.render_or("no mirrors: 'allmende repository mirror add' makes one")
        })
    }
}

/// Show how a mirror stands: what it follows, as of when, what came last, and what its source rewrote.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository mirror show models/south/digits")]
pub struct Show {
    /// The mirror
    repository: HistoryPath,
    #[command(flatten)]
    reach: Reach,
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let view = self.reach.client(context, false)?.mirror(&self.repository).await?;
        context.out.result(&view, || shown(&view))
    }
}

/// Look at a mirror's source now.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository mirror sync models/south/digits --wait")]
pub struct Sync {
    /// The mirror
    repository: HistoryPath,
    /// Wait until it is done
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Sync {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let hub = self.reach.client(context, true)?;
        hub.sync_mirror(&self.repository).await?;
        if self.wait {
            let view = waited(context, &hub, &self.repository).await?;
            return context.out.result(&view, || shown(&view));
        }
        let said = serde_json::json!({ "repository": self.repository, "asked": true });
        context.out.result(&said, || format!("{} is looked at soon", self.repository))
    }
}

/// Let a mirror stand on its own: it follows no more and may be written to. Its files stay.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository mirror remove models/south/digits")]
pub struct Remove {
    /// The mirror
    repository: HistoryPath,
    #[command(flatten)]
    reach: Reach,
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        self.reach.client(context, true)?.delete_mirror(&self.repository).await?;
        let said = serde_json::json!({ "repository": self.repository, "mirror": false });
        context.out.result(&said, || format!("{} follows nothing any more and may be written to", self.repository))
    }
}
