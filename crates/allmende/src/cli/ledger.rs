//! `ledger`: checking a log from its bytes alone, and proving single entries.

use std::path::{Path, PathBuf};

use allmende_core::id::Origin;
use allmende_core::ledger::tile::{TILE_WIDTH, Tile, decode_bundle};
use allmende_core::signature::PublicKey;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::member::{Member, copy_on_disk};
use super::table::{Table, fields};
use crate::client::routes::LogName;
use crate::tls;
use crate::verify::{
    self, DirBlobs, DirSource, Existing, Finding, HttpSource, Options, Report, Source, UnprovenReceipt,
};
use crate::view::{self, EntryView};

/// Entries shown unless asked otherwise.
const SHOWN: u64 = 30;
/// Longest wait for one file of a log.
const FETCH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Check a log, and prove its entries.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Judge a whole log offline, and name the first thing that is wrong
    Verify(Verify),
    /// Write a receipt that proves one entry, checkable offline
    Prove(Prove),
    /// Write a log's hash tiles anew from its entries, or a hub's database from tiles
    Rebuild(Rebuild),
    /// Let a restored hub's logs take entries again without every member's word
    Resume(super::backup::Resume),
    /// Show the key by which others verify a log
    Key(super::log_key::LogKey),
    /// Show entries
    Show(Show),
}

impl Ledger {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Verify(command) => command.run(context).await,
            Self::Prove(command) => command.run(context).await,
            Self::Rebuild(command) => command.run(context).await,
            Self::Resume(command) => command.run(context).await,
            Self::Key(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
        }
    }
}

fn found(finding: &Finding) -> Failure {
    Failure::new(Exit::Wrong, format!("the log is wrong: {finding}"))
        .code(finding.code())
        .next("keep these bytes as evidence, and compare with the other members' copies")
}

fn unproven(error: &UnprovenReceipt) -> Failure {
    Failure::new(Exit::Wrong, format!("the receipt proves nothing: {error}")).code("receipt.unproven")
}

/// Judge a whole log offline, and name the first thing that is wrong.
///
/// Everything is replayed from bytes alone: hashes, signatures by keys valid at that position, decisions by the mode's rule,
/// runs by the agreement in force, contributions and payouts; with --blobs also every aggregation. The hub's key is the one
/// pinned when joining, or --hub-key; without either the log is only compared with itself. A file is taken as a receipt.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende ledger verify ~/.allmende/mirror/handwriting\n  allmende ledger verify https://hub.example:8440/v1/hub/log\n  allmende ledger verify entry-17.receipt --origin hub.example/handwriting"
)]
pub struct Verify {
    /// A folder in the tlog-tiles layout, the URL of one, or a receipt [default: your copy of the collaboration's log]
    target: Option<String>,
    /// The hub's key
    #[arg(long, value_name = "KEY")]
    hub_key: Option<PublicKey>,
    /// The log's origin, as it stands in the terms
    #[arg(long)]
    origin: Option<Origin>,
    /// A folder with kept updates and models by SHA-256: every aggregation is computed again
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    /// A checkpoint seen before, which the log must extend
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
}

impl Verify {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home().ok();
        let pinned = home.as_ref().and_then(|home| home.hub().ok());
        let hub_key = self.hub_key.or_else(|| pinned.map(|hub| hub.key));
        let target = match &self.target {
            Some(target) => target.clone(),
            None => match home.as_ref().and_then(|home| copy_on_disk(context, home)) {
                Some(copy) => copy.display().to_string(),
                None => {
                    let member = Member::open(context).await?;
                    member.home.mirror_dir().join(member.collaboration.as_str()).display().to_string()
                }
            },
        };
        if Path::new(&target).is_file() {
            return self.receipt(context, Path::new(&target), hub_key);
        }
        let known = match &self.known {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
                let signed: allmende_core::ledger::checkpoint::SignedCheckpoint =
                    text.parse().map_err(|e| Failure::file(path, e))?;
                Some(signed.checkpoint)
            }
        };
        let out = context.out;
        let trust = pinned.and_then(|hub| hub.tls_pin).map_or(crate::tls::Trust::System, crate::tls::Trust::Pin);
        // Judging is plain computation over blocking reads: it gets a thread of its own.
        let judged = tokio::task::spawn_blocking(move || {
            let blobs = self.blobs.map(DirBlobs::new);
            let bar = out.bar("verifying", 0);
            let progress = |done: u64, total: u64| {
                bar.set_length(total);
                bar.set_position(done);
            };
            let options = Options {
                origin: self.origin,
                hub_key,
                known,
                witnesses: Vec::new(),
                blobs: blobs.as_ref().map(|b| b as &dyn verify::Blobs),
                progress: Some(&progress),
            };
            let report = if target.starts_with("http://") || target.starts_with("https://") {
                let client = crate::tls::client(&target, &trust).map_err(|e| Failure::usage(e.to_string()))?;
                verify::verify(&HttpSource::new(&target, fetcher(client)), &options)
            } else if Path::new(&target).is_dir() {
                verify::verify(&DirSource::new(&target), &options)
            } else {
                return Err(Failure::usage(format!("{target} is no folder, URL or receipt")));
            };
            bar.finish_and_clear();
            report.map_err(|finding| match finding {
                Finding::Unreadable { source: verify::SourceError::Fetch(why), .. } => {
                    Failure::new(Exit::Unreachable, why)
                }
                finding => found(&finding),
            })
        });
        let report = judged.await.map_err(Failure::internal)??;
        out.result(&report, || text(&report))
    }

    fn receipt(&self, context: &Context, path: &Path, hub_key: Option<PublicKey>) -> Result<(), Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
        let key = hub_key
            .ok_or_else(|| Failure::usage("a receipt is checked against the hub's key").next("give --hub-key"))?;
        let home = context.home().ok();
        let chosen = context.global.collaboration.as_ref();
        let usual = || format!("{}/{}", home.as_ref()?.hub().ok()?.name, chosen?).parse().ok();
        let origin = self.origin.clone().or_else(usual).ok_or_else(|| {
            Failure::usage("of which log?").next("give --origin as it stands in the terms, or --collaboration")
        })?;
        let proven = verify::read_receipt(&text, &origin, &key, &[]).map_err(|e| unproven(&e))?;
        let value = serde_json::json!({ "proven": true, "origin": origin, "entry": proven.entry });
        context.out.result(&value, || {
            format!(
                "Proven: entry {} of {origin} is {} by {}, arrived {}.",
                proven.entry.index, proven.entry.kind, proven.entry.party, proven.entry.arrived_at
            )
        })
    }
}

fn fetcher(client: reqwest::Client) -> impl Fn(&str) -> Result<Option<Vec<u8>>, String> {
    let runtime = tokio::runtime::Handle::current();
    move |url: &str| {
        runtime.block_on(async {
            let failed = |e: reqwest::Error| match tls::distrust(&e) {
                Some((reason, _)) => format!("the hub is not to be trusted: {reason}"),
                None => format!("the hub cannot be reached: {e}"),
            };
            let response = client.get(url).timeout(FETCH_TIMEOUT).send().await.map_err(failed)?;
            match response.status().as_u16() {
                404 => Ok(None),
                200 => response.bytes().await.map(|bytes| Some(bytes.to_vec())).map_err(failed),
                // A collaboration's log is for its members: they mirror it and verify the copy.
                401 | 403 => Err(format!("{url} is for members only: verify your own copy of the log")),
                status => Err(format!("{url} answered with status {status}")),
            }
        })
    }
}

fn text(report: &Report) -> String {
    let mut text = String::from("Nothing is wrong.\n\n");
    text.push_str(&fields([
        ("log", report.origin.clone()),
        (
            "hub key",
            format!("{}{}", report.hub_key, if report.hub_key_pinned { "" } else { " (taken from the log itself)" }),
        ),
        ("entries", report.entries.to_string()),
        ("root", report.root.clone()),
        ("from", report.first_arrival.clone()),
        ("to", report.last_arrival.clone()),
        ("members", report.members.join(", ")),
        ("keys that signed", report.keys.to_string()),
        ("payouts", report.payouts.to_string()),
        ("cosigned by", report.cosignatures.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(", ")),
        ("rounds recomputed", format!("{} of {}", report.rounds.recomputed, report.rounds.recorded)),
    ]));
    if !report.not_checked.is_empty() {
        let mut table = Table::new(&["not checked", "why"]);
        for item in &report.not_checked {
            table.row([&item.what, &item.why]);
        }
        text.push_str(&format!("\n{table}"));
    }
    text
}

/// Write a receipt that proves one entry of the collaboration's log: anyone can check it offline with the hub's key.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende ledger prove 17 --out entry-17.receipt")]
pub struct Prove {
    /// The entry's index, from 0
    index: u64,
    /// Write it here instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Prove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let size = member.state().size();
        if self.index >= size {
            return Err(Failure::usage(format!("the log has {size} entries")).next("indices begin with 0"));
        }
        // The hub makes it, and what it proves is checked here before anybody relies on it.
        let name = LogName::Collaboration(member.collaboration.clone());
        let receipt = member.hub().receipt(&name, self.index).await?;
        let key = member.home.hub()?.key;
        let proven = verify::read_receipt(&receipt, member.state().origin(), &key, &[]).map_err(|e| unproven(&e))?;
        if proven.entry.index != self.index {
            return Err(Failure::new(Exit::Wrong, format!("the hub proved entry {}", proven.entry.index)));
        }
        if let Some(path) = &self.out {
            std::fs::write(path, &receipt).map_err(|e| Failure::file(path, e))?;
        }
        let value = serde_json::json!({ "entry": proven.entry, "receipt": receipt, "origin": member.state().origin() });
        context.out.result(&value, || match &self.out {
            None => receipt.clone(),
            Some(path) => format!("{} proves entry {} ({}).", path.display(), self.index, proven.entry.kind),
        })
    }
}

/// Write a log's hash tiles anew from its entries, after checking that they make up the signed root. With --from: take logs
/// from tiles into a hub's database.
///
/// --from is for the hub's operator: a database that was lost comes back from data_dir/export, and entries that a restored
/// hub lacks from a node's mirror. Every log is judged first; a log that is there already is only ever extended.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende ledger rebuild ./copy-of-log\n  allmende ledger rebuild --from /srv/allmende/export --data-dir /srv/allmende --name hub.example"
)]
pub struct Rebuild {
    /// A folder with the log's checkpoint and entry bundles
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    dir: Option<PathBuf>,
    /// A folder of one log or of several, to take into the hub's database
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    #[command(flatten)]
    settings: super::config::SettingsArgs,
}

impl Rebuild {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        if let Some(from) = &self.from {
            return super::backup::rebuild(context, &self.settings, from).await;
        }
        let dir = self.dir.ok_or_else(|| Failure::usage("which folder?"))?;
        let source = DirSource::new(&dir);
        let signed = verify::checkpoint(&source).map_err(|finding| found(&finding))?;
        let size = signed.checkpoint.size;
        let bar = context.out.bar("rebuilding", size);
        let mut entries = Vec::new();
        let mut index = 0;
        while index < size {
            let tile = Tile::of_entry(index, size).ok_or_else(|| Failure::internal("an entry past the end"))?;
            let path = tile.to_string();
            let broken = |why: String| {
                Failure::new(Exit::Wrong, format!("{path}: {why}"))
                    .next("the entries themselves cannot be made up: take them from a member's copy")
            };
            let bytes = source
                .read(&path)
                .map_err(|e| broken(e.to_string()))?
                .ok_or_else(|| broken("is missing".to_owned()))?;
            let bundle = decode_bundle(&bytes, tile.width).map_err(|e| broken(e.to_string()))?;
            entries.extend(bundle.into_iter().map(|leaf| Ok::<_, std::convert::Infallible>(leaf.to_vec())));
            index = (index / u64::from(TILE_WIDTH) + 1) * u64::from(TILE_WIDTH);
            bar.set_position(index.min(size));
        }
        bar.finish_and_clear();
        verify::export(&dir, entries, &signed, Existing::Repair)
            .map_err(|e| Failure::new(Exit::Wrong, e.to_string()).code("ledger.rebuild"))?;
        let value = serde_json::json!({ "dir": dir.display().to_string(), "entries": size });
        context.out.result(&value, || format!("{}: {size} entries, all hash tiles written", dir.display()))
    }
}

/// Show entries of the collaboration's log, the newest last, or one with its signed statement.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende ledger show\n  allmende ledger show 17")]
pub struct Show {
    /// Only this entry, in full
    index: Option<u64>,
    /// From this entry on [default: the last 30]
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Only this kind, such as payout.posted
    #[arg(long)]
    kind: Option<String>,
}

#[derive(Serialize)]
struct Full {
    #[serde(flatten)]
    entry: EntryView,
    statement: serde_json::Value,
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let mirror = member.log.mirror();
        let size = mirror.verified();
        let from = self
            .index
            .or(self.from)
            .unwrap_or_else(|| if self.kind.is_some() { 0 } else { size.saturating_sub(SHOWN) });
        let mut entries = Vec::new();
        let mut next = from;
        while next < size && (self.index.is_none() || next == from) {
            let records = mirror.read(next)?;
            if records.is_empty() {
                break;
            }
            for record in records {
                let leaf = record.to_bytes().map_err(Failure::internal)?;
                entries.push((view::entry(next, &leaf).map_err(Failure::internal)?, leaf));
                next += 1;
            }
        }
        if let Some(index) = self.index {
            let (entry, leaf) =
                entries.into_iter().next().ok_or_else(|| Failure::usage(format!("the log has {size} entries")))?;
            let json = view::statement_json(&leaf).map_err(Failure::internal)?;
            let full = Full { entry, statement: serde_json::from_str(&json).map_err(Failure::internal)? };
            return context.out.result(&full, || {
                let e = &full.entry;
                let head = fields([
                    ("entry", index.to_string()),
                    ("kind", e.kind.clone()),
                    ("signed by", format!("{} ({} key {})", e.party, e.class, e.key)),
                    ("arrived", e.arrived_at.clone()),
                    ("digest", e.digest.clone()),
                    ("leaf hash", e.leaf_hash.clone()),
                ]);
                format!("{head}\n{json}\n")
            });
        }
        let entries: Vec<EntryView> = entries
            .into_iter()
            .map(|(entry, _)| entry)
            .filter(|e| self.kind.as_ref().is_none_or(|k| *k == e.kind))
            .collect();
        context.out.result(&entries, || {
            let mut table = Table::new(&[">index", "arrived", "kind", "by", "key"]);
            for e in &entries {
                table.row([
                    e.index.to_string(),
                    e.arrived_at.clone(),
                    e.kind.clone(),
                    e.party.clone(),
                    format!("{} {}", e.class, e.key_short),
                ]);
            }
            table.render_or("no such entries")
        })
    }
}
