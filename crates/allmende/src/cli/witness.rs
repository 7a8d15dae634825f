//! `witness`: somebody outside who cosigns logs and sees no entry.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use allmende_core::id::Origin;
use allmende_core::ledger::verifier::VerifierKey;
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::table::Table;
use crate::config::LogFormat;
use crate::server::Door;
use crate::tls::{self, TlsError};
use crate::witness::{self, Identity, WitnessError, api};

/// Open connections; more wait.
const MAX_CONNECTIONS: u64 = 256;
/// Longest time for a client to send its request's head, in seconds.
const HEADER_TIMEOUT_S: u64 = 10;
/// Time for open requests to finish, in seconds.
const DRAIN_TIMEOUT_S: u64 = 5;

/// Run a witness for logs of others.
#[derive(Debug, Subcommand)]
pub enum Witness {
    /// Run a witness until it is told to stop
    Run(Run),
    /// Show the key by which others verify its cosignatures
    Key(Key),
    /// Show what it has cosigned
    Show(Show),
}

impl Witness {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Run(command) => command.run(context).await,
            Self::Key(command) => command.run(context),
            Self::Show(command) => command.run(context),
        }
    }
}

impl From<WitnessError> for Failure {
    fn from(error: WitnessError) -> Self {
        let text = error.to_string();
        match error {
            WitnessError::OtherName { .. } => {
                Self::usage(text).code("witness.other-name").next("leave --name out, or choose another --data-dir")
            }
            WitnessError::NotALog(_) => {
                Self::usage(text).code("witness.not-a-log").next("give the line that 'allmende ledger key' prints")
            }
            WitnessError::InUse { .. } => Self::new(Exit::Failure, text).code("witness.in-use"),
            WitnessError::Damaged { .. } => Self::new(Exit::Wrong, text).code("witness.damaged"),
            _ => Self::internal(text),
        }
    }
}

/// Where a witness keeps its key and what it cosigned.
#[derive(Debug, Args)]
struct Folder {
    /// The witness's folder: its key, and the last checkpoint of each log. Never restore it from a backup: begin anew
    #[arg(long, value_name = "DIR", default_value = "witness-data")]
    data_dir: PathBuf,
    /// The name under which it cosigns, like a host name with a path; kept from the first start on
    #[arg(long, value_name = "NAME")]
    name: Option<Origin>,
}

/// Run a witness until it is told to stop.
///
/// It answers the C2SP tlog-witness protocol: hubs bring checkpoints of the logs named by --log, and it cosigns each one
/// that extends the one before. It never cosigns two histories of a log, or a shorter one. It learns names, sizes and
/// roots of logs, never an entry, and calls nobody.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende witness run --listen 0.0.0.0:8450 --name witness.example/w1 --log hub.example/handwriting+1f2e3d4c+AdXr…"
)]
pub struct Run {
    /// Address and port to listen on; beyond this machine with TLS, by a self-made certificate
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8450")]
    listen: SocketAddr,
    /// A log to watch, by the line that 'allmende ledger key' prints; again for each
    #[arg(long, value_name = "VKEY", required = true)]
    log: Vec<VerifierKey>,
    #[command(flatten)]
    folder: Folder,
    /// What is logged, in the syntax of RUST_LOG
    #[arg(long, value_name = "FILTER", default_value = "info", env = "ALLMENDE_LOG_FILTER")]
    log_filter: String,
}

#[derive(Serialize)]
struct Serving {
    url: String,
    key: String,
    tls_pin: Option<String>,
    hub_setting: String,
    logs: Vec<Origin>,
}

impl Run {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        crate::logs::begin_as(LogFormat::Text, &self.log_filter)?;
        let stop = crate::server::stop_signal().map_err(Failure::internal)?;
        let dir = &self.folder.data_dir;
        let identity = Identity::open(dir, self.folder.name.as_ref())?;
        let key = identity.verifier_key();
        let logs = self.log.iter().map(|log| log.name.clone()).collect();
        let witness = witness::Witness::open(dir, identity, self.log, context.clock().clone())?;
        let secured = if self.listen.ip().is_loopback() {
            None
        } else {
            tls::install_provider();
            Some(tls::self_made(dir, key.name.as_str()).map_err(|e: TlsError| Failure::internal(e))?)
        };
        let listener = TcpListener::bind(self.listen).await.map_err(|e| {
            Failure::new(Exit::Failure, format!("cannot listen on {}: {e}", self.listen))
                .next("choose another --listen address, or stop what listens there")
        })?;
        let address = listener.local_addr().map_err(Failure::internal)?;
        let url = format!("{}://{address}", if secured.is_some() { "https" } else { "http" });
        let tls_pin = secured.as_ref().map(|tls| tls.pin.to_string());
        let hub_setting = [Some(key.to_string()), Some(url.clone()), tls_pin.clone()];
        let hub_setting = hub_setting.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let serving = Serving { url, key: key.to_string(), tls_pin, hub_setting, logs };
        context.out.result(&serving, || {
            format!(
                "Witness {} at {} for {} logs\nA hub asks it with this setting, its address as the hub reaches it:\n  witnesses = [\"{}\"]\n",
                key.name,
                serving.url,
                serving.logs.len(),
                serving.hub_setting
            )
        })?;
        let door = Door {
            service: api::router(Arc::new(witness)),
            tls: secured.map(|tls| tls.config),
            max_connections: MAX_CONNECTIONS,
            header_timeout_s: HEADER_TIMEOUT_S,
            drain_timeout_s: DRAIN_TIMEOUT_S,
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            accepted: Box::new(|| ()),
        };
        door.serve(listener, stop).await;
        context.out.note("The witness has stopped.");
        Ok(())
    }
}

/// Show the key by which others verify its cosignatures, made when there is none.
///
/// The first line is for other programs and for the hub's setting 'witnesses'; the rest is for node.toml of a member that
/// trusts this witness.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende witness key --data-dir witness-data --name witness.example/w1")]
pub struct Key {
    #[command(flatten)]
    folder: Folder,
}

#[derive(Serialize)]
struct Shown {
    verifier_key: String,
    name: Origin,
    key: String,
}

impl Key {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let key = Identity::open(&self.folder.data_dir, self.folder.name.as_ref())?.verifier_key();
        let shown = Shown { verifier_key: key.to_string(), key: key.key.to_string(), name: key.name };
        context.out.result(&shown, || {
            format!("{}\n\n[[witness]]\nname = \"{}\"\nkey = \"{}\"\n", shown.verifier_key, shown.name, shown.key)
        })
    }
}

/// Show what it has cosigned: each log with its last size. It may run meanwhile.
///
/// Ends with 4 when a log signed two histories; the two checkpoints that prove it lie in the folder.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende witness show --data-dir witness-data")]
pub struct Show {
    /// The witness's folder
    #[arg(long, value_name = "DIR", default_value = "witness-data")]
    data_dir: PathBuf,
}

#[derive(Serialize)]
struct Log {
    origin: Origin,
    size: u64,
    root: String,
    forked_at: Option<u64>,
}

impl Show {
    fn run(self, context: &Context) -> Result<(), Failure> {
        if !witness::exists(&self.data_dir)? {
            return Err(Failure::usage(format!("{} holds no witness", self.data_dir.display()))
                .code("witness.none")
                .next("choose its --data-dir"));
        }
        let log = |seen: witness::Seen| Log {
            origin: seen.checkpoint.origin,
            size: seen.checkpoint.size,
            root: seen.checkpoint.root.to_string(),
            forked_at: seen.contradiction.map(|other| other.size),
        };
        let logs: Vec<Log> = witness::seen(&self.data_dir)?.into_iter().map(log).collect();
        context.out.result(&logs, || {
            let mut table = Table::new(&["log", ">size", "root", "forked at"]);
            for log in &logs {
                let forked = log.forked_at.map_or("–".to_owned(), |size| size.to_string());
                table.row([log.origin.to_string(), log.size.to_string(), log.root.clone(), forked]);
            }
            table.render_or("nothing cosigned yet")
        })?;
        match logs.iter().find(|log| log.forked_at.is_some()) {
            None => Ok(()),
            Some(log) => Err(Failure::new(Exit::Wrong, format!("the log {} signed two histories", log.origin))
                .code("witness.forked")
                .next("show both checkpoints in the folder's 'logs' to the log's members")),
        }
    }
}
