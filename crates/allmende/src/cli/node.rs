//! `node`: the member's own machine at work, and its owner's word.

use std::sync::Arc;

use allmende_core::id::{CollaborationId, RunId};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::table::{Table, fields};
use crate::agent::alarms::Alarms;
use crate::agent::control::{Control, ControlError, Question, Stop};
use crate::agent::outbox::{Line, Sum, lines, sums};
use crate::agent::settings::Settings;
use crate::agent::{AgentError, Ended, Options, run};
use crate::client::http::Kind;
use crate::config::LogFormat;
use crate::tls::Trust;

/// Lines of the journal that are shown unless asked otherwise.
const SHOWN: usize = 30;

/// Run this member's node, and look at what it does.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Run the node until it is told to stop
    Run(Run),
    /// Show what left this machine
    Outbox(Outbox),
    /// Stop the node at once, wherever it runs from
    Stop(StopCommand),
    /// Show what the node offers and how it stands
    Status(Status),
    /// Say yes to a run that the node asks about
    #[command(after_long_help = "Example:\n  allmende node approve first")]
    Approve(Answer),
    /// Say no to a run that the node asks about
    #[command(after_long_help = "Example:\n  allmende node deny first")]
    Deny(Answer),
    /// Show alarms, or clear one after looking into it
    Alarms(AlarmsCommand),
}

impl Node {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Run(command) => command.run(context).await,
            Self::Outbox(command) => command.run(context),
            Self::Stop(command) => command.run(context),
            Self::Status(command) => command.run(context),
            Self::Approve(command) => command.run(context, true),
            Self::Deny(command) => command.run(context, false),
            Self::Alarms(command) => command.run(context),
        }
    }
}

/// Run the node until it is told to stop.
///
/// It only calls out. It mirrors and cosigns the log, checks every offer against its own copy and your policy in
/// node/node.toml, trains where the data is, and lists what leaves before it leaves. It runs as an ordinary user.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende node run --log-filter info")]
pub struct Run {
    /// Start although 'node stop' stopped it before
    #[arg(long)]
    resume: bool,
    /// What is logged, in the syntax of RUST_LOG
    #[arg(long, value_name = "FILTER", default_value = "info", env = "ALLMENDE_LOG_FILTER")]
    log_filter: String,
    /// Log lines as JSON
    #[arg(long)]
    log_json: bool,
}

impl Run {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let hub = home.hub()?.clone();
        let format = if self.log_json { LogFormat::Json } else { LogFormat::Text };
        crate::logs::begin_as(format, &self.log_filter)?;
        let shutdown = CancellationToken::new();
        let stop = crate::server::stop_signal().map_err(Failure::internal)?;
        let told = shutdown.clone();
        tokio::spawn(async move {
            stop.await;
            told.cancel();
        });
        crate::keyfile::private_dir(&home.node_dir())?;
        let options = Options {
            dir: home.node_dir(),
            copies: Some(home.mirror_dir()),
            url: hub.url,
            trust: hub.tls_pin.map_or(Trust::System, Trust::Pin),
            hub: hub.name,
            hub_key: hub.key,
            party: home.party().clone(),
            node: home.settings().node.clone(),
            key: Arc::new(home.node_key()?),
            clock: context.clock().clone(),
            resume: self.resume,
        };
        context.out.note(&format!("Node {} of {} at work; Ctrl-C ends it.", options.node, options.party));
        match run(options, shutdown).await? {
            Ended::Shutdown => context.out.note("The node has ended."),
            Ended::Stopped(Stop { silent: true }) => {
                context.out.note("Stopped by its owner; nothing was sent any more.");
            }
            Ended::Stopped(_) => context.out.note("Stopped by its owner; open runs were refused."),
        }
        Ok(())
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Stopped => Self::new(Exit::Refused, "the owner stopped this node")
                .code("node.stopped")
                .next("start it with 'allmende node run --resume'"),
            AgentError::Client(error) => error.into(),
            AgentError::OtherName { .. } => Self::new(Exit::Unreachable, error.to_string()).code("hub.other"),
            AgentError::Settings(_) => {
                Self::usage(error.to_string()).code("node.settings").next("correct node/node.toml")
            }
            error => Self::internal(error),
        }
    }
}

/// Show what left this machine: every request, listed before it left. Rows of data: always 0.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende node outbox --sum")]
pub struct Outbox {
    /// Only sums by kind
    #[arg(long)]
    sum: bool,
    /// Only this run
    #[arg(long)]
    run: Option<RunId>,
    /// All lines, not only the last
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Left {
    kinds: std::collections::BTreeMap<Kind, Sum>,
    rows: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<Line>,
}

impl Outbox {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let mut journal = lines(&home.node_dir().join("outbox")).map_err(Failure::internal)?;
        journal.retain(|line| self.run.is_none() || line.run == self.run);
        let kinds = sums(&journal);
        let total = |of: fn(&Sum) -> u64| kinds.values().map(of).sum();
        let (rows, bytes) = (total(|s| s.rows), total(|s| s.bytes));
        let skipped = if self.all { 0 } else { journal.len().saturating_sub(SHOWN) };
        let shown = if self.sum { Vec::new() } else { journal.split_off(skipped) };
        let left = Left { kinds, rows, bytes, lines: shown };
        context.out.result(&left, || {
            let mut text = String::new();
            if !left.lines.is_empty() {
                let mut table = Table::new(&["when", "kind", "state", ">bytes", ">rows", "run", "what"]);
                for line in &left.lines {
                    let run = line.run.as_ref().map_or("–".to_owned(), ToString::to_string);
                    table.row([
                        line.at.to_string(),
                        word(&line.kind),
                        word(&line.state),
                        line.bytes.to_string(),
                        line.rows.to_string(),
                        run,
                        line.what.clone(),
                    ]);
                }
                text.push_str(&format!("{table}\n"));
            }
            let mut table = Table::new(&["what left", ">pieces", ">bytes", ">rows of data"]);
            for (kind, sum) in &left.kinds {
                table.row([word(kind), sum.pieces.to_string(), sum.bytes.to_string(), sum.rows.to_string()]);
            }
            table.row(["all".to_owned(), String::new(), left.bytes.to_string(), left.rows.to_string()]);
            text.push_str(&table.to_string());
            text
        })
    }
}

/// A word of a closed list, as its JSON has it.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Stop the node at once, wherever it runs from, and keep it from starting. Open runs are refused as 'stopped'.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende node stop")]
pub struct StopCommand {
    /// Send nothing at all any more, not even that it stopped
    #[arg(long)]
    silent: bool,
}

impl StopCommand {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let dir = context.home()?.node_dir();
        crate::keyfile::private_dir(&dir)?;
        Control::new(&dir).stop(Stop { silent: self.silent })?;
        context.out.result(&serde_json::json!({ "stopped": true, "silent": self.silent }), || {
            "The node is stopped. 'allmende node run --resume' starts it again.".to_owned()
        })
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotAsked { .. } => {
                Self::usage(error.to_string()).code("node.not-asked").next("see 'allmende node status'")
            }
            ControlError::File { .. } => Self::internal(error),
        }
    }
}

/// Show what the node offers, what it asks its owner, and whether it is stopped.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende node status")]
pub struct Status {}

#[derive(Serialize)]
struct Standing {
    node: String,
    stopped: Option<Stop>,
    ask_first: bool,
    datasets: Vec<Offer>,
    questions: Vec<Question>,
    alarms: usize,
}

#[derive(Serialize)]
struct Offer {
    asset: String,
    path: String,
    readable: bool,
}

impl Status {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let dir = home.node_dir();
        let settings = Settings::load(&dir).map_err(|e| Failure::from(AgentError::from(e)))?;
        let control = Control::new(&dir);
        // Salts stay out of sight.
        let offer = |(id, o): (&allmende_core::id::AssetId, &crate::agent::settings::Offered)| Offer {
            asset: id.to_string(),
            path: o.path.display().to_string(),
            readable: std::fs::File::open(&o.path).is_ok(),
        };
        let standing = Standing {
            node: home.settings().node.to_string(),
            stopped: control.stopped(),
            ask_first: settings.policy.ask_first,
            datasets: settings.dataset.iter().map(offer).collect(),
            questions: control.questions()?,
            alarms: Alarms::new(&dir).all().map_err(Failure::internal)?.len(),
        };
        context.out.result(&standing, || {
            let stopped = match standing.stopped {
                None => "no",
                Some(Stop { silent: true }) => "yes, silently",
                Some(_) => "yes",
            };
            let mut text = fields([
                ("node", standing.node.clone()),
                ("stopped by its owner", stopped.to_owned()),
                ("asks first", if standing.ask_first { "every run" } else { "no" }.to_owned()),
                ("alarms", standing.alarms.to_string()),
            ]);
            let mut table = Table::new(&["dataset", "file", "readable"]);
            for d in &standing.datasets {
                table.row([d.asset.as_str(), d.path.as_str(), if d.readable { "yes" } else { "NO" }]);
            }
            text.push_str(&format!("\n{}", table.render_or("no dataset offered yet")));
            if !standing.questions.is_empty() {
                let mut table = Table::new(&["asks about run", "in", "by", "for", ">rounds"]);
                for q in &standing.questions {
                    table.row([
                        q.run.to_string(),
                        q.collaboration.to_string(),
                        q.proposed_by.to_string(),
                        q.purpose.to_string(),
                        q.rounds.to_string(),
                    ]);
                }
                text.push_str(&format!(
                    "\n{table}Answer with 'allmende node approve RUN' or 'allmende node deny RUN'.\n"
                ));
            }
            text
        })
    }
}

/// Answer a run that the node asks about. The answer is good for exactly this plan.
#[derive(Debug, Args)]
pub struct Answer {
    /// The run
    run: RunId,
}

impl Answer {
    fn run(self, context: &Context, approved: bool) -> Result<(), Failure> {
        let control = Control::new(&context.home()?.node_dir());
        let questions = control.questions()?;
        let chosen = context.global.collaboration.as_ref();
        let mut asked = questions.iter().filter(|q| q.run == self.run && chosen.is_none_or(|c| *c == q.collaboration));
        let collaboration = match (asked.next(), asked.next()) {
            (Some(question), None) => question.collaboration.clone(),
            (None, _) => return Err(ControlError::NotAsked { run: self.run }.into()),
            _ => {
                return Err(Failure::usage("several collaborations have a run of this name")
                    .next("choose with --collaboration"));
            }
        };
        control.answer(&collaboration, &self.run, approved)?;
        let value = serde_json::json!({ "run": self.run, "collaboration": collaboration, "approved": approved });
        context.out.result(&value, || {
            format!("The node will {} run '{}'.", if approved { "take part in" } else { "refuse" }, self.run)
        })
    }
}

/// Show alarms: what the hub or its log did that no honest one does. The evidence stands in each.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende node alarms\n  allmende node alarms --clear handwriting")]
pub struct AlarmsCommand {
    /// Let the node act for this collaboration again, after you looked into it
    #[arg(long, value_name = "NAME")]
    clear: Option<CollaborationId>,
}

impl AlarmsCommand {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let alarms = Alarms::new(&context.home()?.node_dir());
        if let Some(collaboration) = &self.clear {
            alarms.clear(collaboration).map_err(Failure::internal)?;
        }
        let all = alarms.all().map_err(Failure::internal)?;
        let halted = all.iter().any(|event| event.halts && alarms.is_halted(&event.collaboration));
        context.out.result(&all, || {
            let mut table = Table::new(&["when", "collaboration", "code", "halts", "what"]);
            for e in &all {
                let halts = if e.halts { "yes" } else { "no" };
                table.row([
                    e.at.to_string(),
                    e.collaboration.to_string(),
                    e.code.clone(),
                    halts.to_owned(),
                    e.text.clone(),
                ]);
            }
            table.render_or("no alarms")
        })?;
        if !halted {
            return Ok(());
        }
        Err(Failure::new(Exit::Wrong, "an alarm holds the node up")
            .code("node.halted")
            .next("look into the evidence with the other members; then 'allmende node alarms --clear COLLABORATION'"))
    }
}
