//! `asset`: what a member brings. Rows stay where they are; a schema, counts and a commitment leave.

use std::path::{Path, PathBuf};

use allmende_core::agreement::vocabulary::DataClass;
use allmende_core::digest::Digest;
use allmende_core::id::{AssetId, Label};
use allmende_core::licence::Stated;
use allmende_core::statement::{AssetRegistered, AssetRevoked, OpenBytes};
use allmende_train::prepare::deduplicate;
use allmende_train::table::Table as Rows;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::member::{Member, one_of};
use super::table::{Table, fields};
use super::words::code;
use crate::agent::data::{self, Salt};
use crate::agent::settings::{Offered, Settings};
use crate::view;

/// Largest openly shared file, in bytes.
const MAX_OPEN_BYTES: u64 = 256 << 20;
/// Duplicates named one by one; of more only the number is said.
const MAX_NAMED: usize = 10;

/// Offer, list and fetch assets.
#[derive(Debug, Subcommand)]
pub enum Asset {
    /// Register a dataset; its rows never leave, unless it is openly shared
    Add(Add),
    /// List all assets
    List(List),
    /// Download an openly shared asset
    Pull(Pull),
    /// Take an asset back at once
    Revoke(Revoke),
}

impl Asset {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Add(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Pull(command) => command.run(context).await,
            Self::Revoke(command) => command.run(context).await,
        }
    }
}

/// What a dataset holds, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClassWord {
    /// Private rows; they stay on this machine
    Record,
    /// A small set shared openly; its bytes go to the hub
    Reference,
}

/// Register a dataset.
///
/// The file is read here: exact duplicates are left out, a fifth of each class is held out for evaluation, by a secret
/// salt. Registered are its schema, its counts and a salted commitment that binds you to these rows without showing any.
/// The node is told where the file lies; it needs only to be able to read it.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende asset add digits.csv --name digits --class record --classes 10")]
pub struct Add {
    /// A CSV file, plain or gzip; the label is the column 'label', or else the last
    file: PathBuf,
    /// The asset's name after yours, as in north/NAME
    #[arg(long)]
    name: Label,
    /// What it holds
    #[arg(long, value_enum, default_value = "record")]
    class: ClassWord,
    /// Classes of the label, 0 to N-1, those that your rows do not show included
    #[arg(long, value_name = "NUMBER")]
    classes: u32,
    /// The licence of others that the data stands under, as SPDX or the Hub names it, or 'other'; leave it out for data of
    /// your own: the terms are its licence then
    #[arg(long, value_name = "LICENCE", value_parser = code::<Stated>)]
    licence: Option<Stated>,
    /// A salt that repeats: for the demonstration only, because it can be guessed
    #[arg(long, hide = true)]
    salt_seed: Option<String>,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

#[derive(Serialize)]
struct Added {
    asset: AssetId,
    class: &'static str,
    rows_in_file: usize,
    duplicates_dropped: usize,
    conflicting_labels: usize,
    registered: AssetRegistered,
    rows_that_left: usize,
}

impl Add {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        // Said before the file is read: without terms nothing can be registered.
        member.current()?;
        let asset: AssetId = format!("{}/{}", member.home.party(), self.name).parse().map_err(Failure::internal)?;
        let path = std::path::absolute(&self.file).map_err(|e| Failure::file(&self.file, e))?;
        let rows = self.read(&path)?;
        let (_, report) = deduplicate(&rows);
        for repeat in report.repeats.iter().take(MAX_NAMED) {
            context.out.note(&format!("left out: {repeat}"));
        }
        for conflict in report.conflicts.iter().take(MAX_NAMED) {
            context.out.warn(&conflict.to_string());
        }
        let salt = match &self.salt_seed {
            Some(seed) => Salt(Digest::of_parts(&[b"allmende demo salt v1", seed.as_bytes()]).0),
            None => Salt::fresh().map_err(Failure::internal)?,
        };
        let prepared = data::prepare(&rows, self.classes, &salt).map_err(|e| Failure::file(&path, e))?;
        let features = u32::try_from(rows.columns.len()).map_err(|_| Failure::file(&path, "too many columns"))?;
        let open = match self.class {
            ClassWord::Record => None,
            ClassWord::Reference => Some(read_whole(&path)?),
        };
        let registered = AssetRegistered {
            asset: asset.clone(),
            class: if open.is_some() { DataClass::Reference } else { DataClass::Record },
            commitment: prepared.commitment,
            schema: prepared.schema_digest,
            features,
            classes: self.classes,
            train_rows: prepared.train.rows() as u64,
            held_out_rows: prepared.held_out.rows() as u64,
            bytes: open.as_ref().map(|b| OpenBytes { digest: Digest::of(b), size_bytes: b.len() as u64 }),
            licence: self.licence,
        };
        let left = if open.is_some() { rows.rows() } else { 0 };
        context.out.note(
            fields([
                ("asset", asset.to_string()),
                ("rows", format!("{} to train, {} held out", registered.train_rows, registered.held_out_rows)),
                ("features", features.to_string()),
                ("classes", self.classes.to_string()),
                ("licence", self.licence.map_or_else(|| "your own: the terms".to_owned(), |l| l.to_string())),
                (
                    "leaves this machine",
                    if open.is_some() {
                        "ALL rows: it is shared openly".to_owned()
                    } else {
                        "no row; schema digest, counts, commitment".to_owned()
                    },
                ),
            ])
            .trim_end(),
        );
        if !self.yes && !context.out.confirm("Register it?")? {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        // The node must know the salt before anybody may ask it to train: a crash in between leaves a dataset too many.
        let node_dir = member.home.node_dir();
        let mut settings = Settings::load(&node_dir).map_err(Failure::internal)?;
        if open.is_none() {
            if settings.dataset.contains_key(&asset) && member.state().assets().contains_key(&asset) {
                return Err(Failure::new(Exit::Refused, format!("{asset} is registered already"))
                    .code("asset.exists")
                    .next("choose another --name: what was committed to cannot be exchanged"));
            }
            let (commitment, schema) = (prepared.commitment, prepared.schema_digest);
            settings.dataset.insert(asset.clone(), Offered { path, classes: self.classes, salt, commitment, schema });
            crate::keyfile::private_dir(&node_dir)?;
            settings.save(&node_dir).map_err(Failure::internal)?;
        }
        if let Some(bytes) = open {
            let hub = member.writing_hub()?;
            let bar = context.out.spinner("sharing");
            let put = hub.put_asset(&member.collaboration, &asset, bytes).await;
            bar.finish_and_clear();
            put?;
        }
        member.sign(registered.clone(), None).await?;
        let added = Added {
            asset,
            class: registered.class.code(),
            rows_in_file: rows.rows(),
            duplicates_dropped: report.repeats.len(),
            conflicting_labels: report.conflicts.len(),
            registered,
            rows_that_left: left,
        };
        context.out.result(&added, || {
            fields([
                ("registered", added.asset.to_string()),
                ("duplicates left out", added.duplicates_dropped.to_string()),
                ("conflicting labels", added.conflicting_labels.to_string()),
                ("commitment", added.registered.commitment.to_string()),
                ("rows that left", added.rows_that_left.to_string()),
            ])
        })
    }

    fn read(&self, path: &Path) -> Result<Rows, Failure> {
        let file = std::fs::File::open(path).map_err(|e| Failure::file(path, e))?;
        Rows::read(file, self.classes)
            .map_err(|e| Failure::file(path, e).code("data.invalid").next("correct the file; nothing was registered"))
    }
}

fn read_whole(path: &Path) -> Result<Bytes, Failure> {
    let size = std::fs::metadata(path).map_err(|e| Failure::file(path, e))?.len();
    if size > MAX_OPEN_BYTES {
        return Err(Failure::file(path, format!("{size} bytes; an openly shared file has at most {MAX_OPEN_BYTES}")));
    }
    Ok(std::fs::read(path).map_err(|e| Failure::file(path, e))?.into())
}

/// List all assets that members registered.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende asset list")]
pub struct List {}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let assets = view::assets(member.state());
        context.out.result(&assets, || {
            let mut table =
                Table::new(&["asset", "class", ">features", ">classes", ">train", ">held out", "licence", "state"]);
            for a in &assets {
                let state = a.revoked_at.as_ref().map_or("offered".to_owned(), |at| format!("taken back {at}"));
                table.row([
                    a.asset.clone(),
                    a.class.clone(),
                    a.features.to_string(),
                    a.classes.to_string(),
                    a.train_rows.to_string(),
                    a.held_out_rows.to_string(),
                    a.licence.clone().unwrap_or_else(|| "the terms".to_owned()),
                    state,
                ]);
            }
            table.render_or("no assets yet: register one with 'allmende asset add'")
        })
    }
}

/// Download an openly shared asset. Its bytes are checked against the digest in the log.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende asset pull north/reference --out reference.csv")]
pub struct Pull {
    /// The asset, as party/name
    asset: AssetId,
    /// Where to [default: the asset's name]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Pull {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let known: Vec<_> = member.state().assets().keys().map(ToString::to_string).collect();
        let registered = member.state().asset(&self.asset).ok_or_else(|| {
            Failure::usage(format!("{} is not registered, or was taken back", self.asset))
                .code("asset.unknown")
                .next(one_of(&known, "nothing is registered yet"))
        })?;
        let bytes = registered.bytes.clone().ok_or_else(|| {
            Failure::new(Exit::Refused, format!("{} is private: its rows never leave its owner's node", self.asset))
                .code("asset.private")
                .next("propose a run that trains where the data is")
        })?;
        let out = self.out.unwrap_or_else(|| PathBuf::from(self.asset.name()));
        if out.exists() {
            return Err(Failure::file(&out, "exists already").next("give another --out; nothing is overwritten"));
        }
        let spinner = context.out.spinner(&format!("downloading {}", self.asset));
        let pulled =
            member.hub().asset(&member.collaboration, &self.asset, &bytes.digest, bytes.size_bytes, &out).await;
        spinner.finish_and_clear();
        pulled?;
        let value = serde_json::json!({
            "asset": self.asset, "file": out.display().to_string(), "digest": bytes.digest, "size_bytes": bytes.size_bytes,
        });
        context.out.result(&value, || format!("{}: {} bytes, {}", out.display(), bytes.size_bytes, bytes.digest))
    }
}

/// Take an asset back at once, without a vote. Runs that use it stop; what was trained before stays.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende asset revoke north/digits")]
pub struct Revoke {
    /// The asset
    asset: AssetId,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        if !self.yes
            && !context
                .out
                .confirm(&format!("Take {} back? It cannot be offered under this name again.", self.asset))?
        {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        member.sign(AssetRevoked { asset: self.asset.clone() }, None).await?;
        let dir = member.home.node_dir();
        let mut settings = Settings::load(&dir).map_err(Failure::internal)?;
        if settings.dataset.remove(&self.asset).is_some() {
            settings.save(&dir).map_err(Failure::internal)?;
        }
        context.out.result(&serde_json::json!({ "asset": self.asset, "revoked": true }), || {
            format!("{} is taken back", self.asset)
        })
    }
}
