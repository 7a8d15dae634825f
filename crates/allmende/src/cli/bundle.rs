//! `repository export`, `inspect` and `import`: a repository in one signed file, for places that no network reaches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use allmende_core::digest::Digest;
use allmende_core::signature::PublicKey;
use allmende_core::statement::KeyClass;
use allmende_core::time::Timestamp;
use clap::Args;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::member::{plain_client, reading_client};
use super::table::fields;
use super::words::code;
use crate::client::bundles::HistoryPath;
use crate::client::http::{HubClient, Signer};
use crate::mirror::MirrorError;
use crate::mirror::export::Wanted;
use crate::mirror::inspect::{BundleReport, inspect};
use crate::tls::Trust;

/// Where the environment has a token of a hub, as the Hugging Face tools look for it.
const TOKEN_VARIABLE: &str = "HF_TOKEN";

/// Which hub, and as whom.
#[derive(Debug, Args)]
pub struct Reach {
    /// Another hub than the one that this folder joined: its address. The token comes from --token-file or $HF_TOKEN
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// A file whose first line is a token of that hub
    #[arg(long, value_name = "FILE", requires = "hub")]
    token_file: Option<PathBuf>,
    /// SHA-256 of that hub's TLS public key, `sha256:…`, where its certificate is its own
    #[arg(long, value_name = "PIN", requires = "hub", value_parser = code::<Digest>)]
    tls_pin: Option<Digest>,
}

/// The first line of a file; `-` is standard input.
///
/// # Errors
/// When it cannot be read.
pub fn first_line(path: &Path) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::usage(format!("{}: {e}", path.display()));
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin().lock())
    } else {
        std::fs::read_to_string(path)
    };
    Ok(text.map_err(failed)?.lines().next().unwrap_or_default().trim().to_owned())
}

impl Reach {
    /// A client of the hub; to write, it signs in as whoever may.
    ///
    /// # Errors
    /// When there is no hub, key or token.
    pub fn client(&self, context: &Context, write: bool) -> Result<HubClient, Failure> {
        let Some(url) = &self.hub else {
            let home = context.home()?;
            if !write {
                return reading_client(context, &home);
            }
            let key = Arc::new(context.key(&home, KeyClass::Governance)?);
            let signer = Signer { party: home.party().clone(), class: KeyClass::Governance, key };
            return Ok(plain_client(context, home.hub()?)?.signed_in_as(signer));
        };
        let trust = self.tls_pin.map_or(Trust::System, Trust::Pin);
        let client = HubClient::connect(url, &trust, None, context.clock().clone())?;
        let token = match &self.token_file {
            Some(file) => Some(first_line(file)?),
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        match token.filter(|token| !token.is_empty()) {
            Some(token) => Ok(client.bearing(token)),
            None if write => {
                Err(Failure::usage("a token of that hub is needed").next("give --token-file FILE, or set HF_TOKEN"))
            }
            None => Ok(client),
        }
    }
}

impl From<MirrorError> for Failure {
    fn from(error: MirrorError) -> Self {
        let text = error.to_string();
        match error {
            MirrorError::Bundle(_) | MirrorError::Refused(_) | MirrorError::Xet(_) => {
                Self::new(Exit::Wrong, text).code("bundle.wrong").next("get the bundle again, from whom you trust")
            }
            MirrorError::OtherSigner { .. } => Self::new(Exit::Wrong, text).code("bundle.other-signer").next(
                "ask the other hub's operator for its key by another way: 'allmende whoami' shows it to its members",
            ),
            _ => Self::new(Exit::Failure, text).code("bundle"),
        }
    }
}

async fn look(context: &Context, path: &Path) -> Result<BundleReport, Failure> {
    let failed = |e: std::io::Error| Failure::usage(format!("{}: {e}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let bar = context.out.bytes("checking", file.metadata().await.map_err(failed)?.len());
    let read = tokio_util::io::InspectReader::new(file, |piece: &[u8]| bar.inc(piece.len() as u64));
    let report = inspect(tokio::io::BufReader::with_capacity(1 << 18, read)).await;
    bar.finish_and_clear();
    Ok(report?)
}

fn require_signer(report: &BundleReport, expected: Option<PublicKey>) -> Result<(), Failure> {
    let found: PublicKey = report.signer.parse().map_err(Failure::internal)?;
    match expected {
        Some(expected) if expected != found => Err(MirrorError::OtherSigner { found, expected }.into()),
        _ => Ok(()),
    }
}

fn shown(report: &BundleReport, path: &Path) -> String {
    let heads = report.refs.iter().map(|(name, oid)| format!("{} {name}", &oid[..12])).collect::<Vec<_>>();
    let since = if report.since.is_empty() { "nothing".to_owned() } else { report.since.join(", ") };
    let mut text = fields([
        ("bundle", path.display().to_string()),
        ("of", format!("{} {} on {}", report.kind, report.repository, report.hub)),
        ("made", Timestamp(report.made_at).to_string()),
        ("signed by", report.signer.clone()),
        ("holds", if report.whole { "all branches and tags" } else { "some branches or tags" }.to_owned()),
        ("builds upon", since),
        ("history", format!("{} bytes", report.pack_bytes)),
        ("large files", format!("{} of {} bytes", report.large_files, report.large_bytes)),
        ("chunks", format!("{} bytes in {} xorbs", report.chunk_bytes, report.xorbs)),
        ("refs", heads.join("\n")),
    ]);
    if report.leaning_files > 0 {
        text += &format!("{} large files lean upon what its receiver must have\n", report.leaning_files);
    }
    text + "Every byte was checked. Compare the key with what the other hub's operator told you by another way.\n"
}

/// Write a repository into one signed file: its branches and tags with their history, and its large files.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository export models/north/digits --output digits.bundle\n  \
    allmende repository export models/north/digits --since 4f2a9c1 --output more.bundle\n\n\
    With --since only what is new is written: whoever takes it must have that commit, from an earlier bundle. It takes the \
    right to read all files, and for a repository under terms the right to take it out of them.")]
pub struct Export {
    /// The repository: models/OWNER/NAME, datasets/OWNER/NAME, spaces/OWNER/NAME or codes/OWNER/NAME
    repository: HistoryPath,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// One branch or tag; without it all of them
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    /// A commit, branch or tag that the other side has; may be given several times
    #[arg(long, value_name = "COMMIT")]
    since: Vec<String>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        if self.output.exists() && !self.force {
            let text = format!("{} is there already", self.output.display());
            return Err(Failure::usage(text).next("choose another name, or give --force"));
        }
        let hub = self.reach.client(context, false)?;
        let wanted = Wanted { revision: self.revision.clone(), since: self.since.clone(), ..Wanted::default() };
        let mut part = self.output.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let bar = context.out.bytes("exporting", 0);
        let progress = |have, total| {
            bar.set_length(total);
            bar.set_position(have);
        };
        let exported = hub.export_bundle(&self.repository, &wanted, &part, progress).await;
        bar.finish_and_clear();
        // A bundle that is damaged is found out here, not where no network is.
        let report = match exported {
            Ok(_) => look(context, &part).await,
            Err(error) => Err(error.into()),
        };
        let report = match report {
            Ok(report) => report,
            Err(failure) => {
                // What is left of it is of no use.
                let _ = tokio::fs::remove_file(&part).await;
                return Err(failure);
            }
        };
        let failed = |e: std::io::Error| Failure::usage(format!("{}: {e}", self.output.display()));
        tokio::fs::rename(&part, &self.output).await.map_err(failed)?;
        context.out.result(&report, || shown(&report, &self.output))
    }
}

/// Look through a bundle without any hub: who signed it, what is in it, and whether all of it is whole.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende repository inspect digits.bundle --signer ed25519:…")]
pub struct Inspect {
    /// The bundle
    file: PathBuf,
    /// The key that must have signed it
    #[arg(long, value_name = "KEY", value_parser = code::<PublicKey>)]
    signer: Option<PublicKey>,
}

impl Inspect {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let report = look(context, &self.file).await?;
        require_signer(&report, self.signer)?;
        context.out.result(&report, || shown(&report, &self.file))
    }
}

/// Bring a bundle to a hub: a new repository, private and read-only, or one that an earlier bundle of the same source made.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende repository import digits.bundle --as south/digits --signer ed25519:…\n\n\
    The bundle is looked through here first, and again by the hub. Taken a second time it changes nothing. To write to the \
    repository later, let it stand on its own with 'allmende repository mirror remove'."
)]
pub struct Import {
    /// The bundle
    file: PathBuf,
    /// What the repository is to be called here
    #[arg(long = "as", value_name = "OWNER/NAME")]
    name: HistoryPath,
    /// The key of the hub that made the bundle, as its operator told you by another way
    #[arg(long, value_name = "KEY", value_parser = code::<PublicKey>)]
    signer: PublicKey,
    /// Let files into a new repository that run code when they are loaded
    #[arg(long)]
    allow_pickles: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let report = look(context, &self.file).await?;
        require_signer(&report, Some(self.signer))?;
        let kind = crate::repo::Kind::parse(&report.kind);
        let kind = kind.ok_or_else(|| Failure::internal(format!("a bundle of a {}", report.kind)))?;
        let target = self.name.of_kind(kind);
        let hub = self.reach.client(context, true)?;
        let spinner = context.out.spinner("importing");
        let taken = hub.import_bundle(&target, &self.signer, self.allow_pickles, &self.file).await;
        spinner.finish_and_clear();
        let taken = taken?;
        context.out.result(&taken, || {
            let what = if taken.created { "is new" } else { "was brought further" };
            let mut text = format!(
                "{} {what}: {} branches and tags moved, {} bytes of chunks stored\n",
                taken.repository, taken.refs_moved, taken.stored_bytes
            );
            if taken.refs_moved == 0 {
                text = format!("{} has all that is in the bundle\n", taken.repository);
            }
            if taken.lacking > 0 {
                text += &format!(
                    "{} large files of its history were deleted at the source and are not there\n",
                    taken.lacking
                );
            }
            text
        })
    }
}
