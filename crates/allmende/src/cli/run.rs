//! `run`: proposing, approving and following work on members' nodes.

use std::time::Duration;

use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::id::RunId;
use allmende_core::state::runs::Status;
use allmende_core::statement::RunProposed;
use allmende_train::model::summary;
use clap::{Args, Subcommand};

use super::context::Context;
use super::decision;
use super::failure::{Exit, Failure};
use super::member::Member;
use super::plan::PlanArgs;
use super::table::{Table, fields};
use crate::view::{self, RunView};

/// Pause between two looks at the log.
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// Propose, approve and follow runs.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value per process")]
pub enum Run {
    /// Propose a run and put it to the members
    Propose(Propose),
    /// Vote yes on a run
    Approve(Approve),
    /// Follow a run until it is over
    Watch(Watch),
    /// List all runs
    List(List),
    /// Show a run: plan, answers, rounds, results
    Show(Show),
}

impl Run {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Propose(command) => command.run(context).await,
            Self::Approve(command) => command.run(context).await,
            Self::Watch(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Show(command) => show(&Member::open(context).await?, &command.run),
        }
    }
}

/// Propose a run and put it to the members.
///
/// The plan is everything that decides the result; its digest is what members approve. What the terms say is shown before
/// you sign. A run that the terms forbid can be proposed, for the record, with --for-the-record.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende run propose first --model mlp:64 --rounds 40 --normalize uniform:8:0.125"
)]
pub struct Propose {
    /// Its name, unique in the collaboration
    run: RunId,
    /// What is planned.
    #[command(flatten)]
    plan: PlanArgs,
    /// Do not open a decision about it
    #[arg(long)]
    no_decision: bool,
    /// Propose it even if the terms forbid it: the refusal then stands in the log
    #[arg(long)]
    for_the_record: bool,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Propose {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let plan = self.plan.build(&member)?;
        let decision = member.state().judge_plan(&plan, member.home.party(), context.now());
        let clauses: Vec<_> = decision.clauses.iter().map(|c| c.clause.to_string()).collect();
        let refused = || {
            Failure::new(Exit::Refused, format!("the terms forbid this run: {decision}"))
                .code("agreement.denied")
                .clauses(clauses.clone())
                .next("change the plan, or see 'allmende agreement explain'")
        };
        if !decision.is_allowed() && !self.for_the_record {
            return Err(refused());
        }
        let parties: Vec<_> = plan.slots.iter().map(|slot| slot.party.to_string()).collect();
        context.out.note(
            fields([
                ("run", self.run.to_string()),
                ("parties", parties.join(", ")),
                ("rounds", format!("{} of each of {} coalitions", plan.rounds, plan.tracks().len())),
                ("terms", decision.to_string()),
                ("plan", plan.digest().to_string()),
            ])
            .trim_end(),
        );
        if let Ok(summary) = summary(&plan.model) {
            context.out.note(&summary.to_string());
        }
        if !self.yes && !context.out.confirm("Propose this run?")? {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        let subject = Subject::Run { run: self.run.clone(), plan: plan.digest() };
        let agreement = plan.agreement;
        member.sign(RunProposed { run: self.run.clone(), plan }, Some(agreement)).await?;
        if !decision.is_allowed() {
            show(&member, &self.run)?;
            return Err(refused());
        }
        if !self.no_decision {
            let id = decision::open(&mut member, &format!("run-{}", self.run), subject).await?;
            context
                .out
                .note(&format!("Decision '{id}' is open: members vote with 'allmende run approve {}'.", self.run));
        }
        show(&member, &self.run)
    }
}

/// Vote yes on the decision about a run.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende run approve first")]
pub struct Approve {
    /// The run
    run: RunId,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Approve {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let run = member.run(&self.run)?;
        let subject = Subject::Run { run: self.run.clone(), plan: run.plan_digest };
        let status = run.status.code();
        let id = decision::find_open(&member, &subject).ok_or_else(|| {
            Failure::new(Exit::Refused, format!("no decision about run '{}' is open; the run is {status}", self.run))
                .code("decision.none")
                .next("see 'allmende decision list'")
        })?;
        decision::confirm(&member, &id, Vote::Yes, self.yes)?;
        decision::vote(&mut member, &id, Vote::Yes).await?;
        decision::show(&member, &id)
    }
}

/// Follow a run until it is over: rounds, accuracy, who is missing. Ends with 1 if it fails.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende run watch first")]
pub struct Watch {
    /// The run
    run: RunId,
    /// Stop waiting after this time, such as 30m
    #[arg(long, value_name = "TIME", value_parser = super::words::parse_duration_ms)]
    timeout: Option<u64>,
}

impl Watch {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let run = member.run(&self.run)?;
        let tracks = run.plan.tracks().len() as u64;
        let bar = context.out.bar(&format!("{} rounds", self.run), u64::from(run.plan.rounds) * tracks);
        let since = std::time::Instant::now();
        let mut status = String::new();
        loop {
            let run = member.run(&self.run)?;
            if run.status.is_over() {
                break;
            }
            let now = run.status.code();
            if status != now {
                now.clone_into(&mut status);
                context.out.note(&format!("run {} is {status}", self.run));
            }
            let done: u32 = run.tracks.iter().map(|t| t.round() - 1).sum();
            bar.set_position(u64::from(done));
            if let Some(view) = view::run(member.state(), &self.run) {
                bar.set_prefix(standing(&view));
            }
            let late = |ms: u64| since.elapsed() > Duration::from_millis(ms);
            if self.timeout.is_some_and(late) {
                bar.abandon();
                return Err(
                    Failure::new(Exit::Failure, format!("run '{}' was still {status}", self.run)).code("run.timeout")
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
            // The bar stands in for the verification's own sign of life.
            member.follow().await?;
        }
        bar.finish_and_clear();
        show(&member, &self.run)?;
        match member.run(&self.run)?.status {
            Status::Finished => Ok(()),
            Status::Forbidden | Status::Rejected => {
                Err(Failure::new(Exit::Refused, format!("run '{}' was not approved", self.run)).code("run.refused"))
            }
            status => {
                Err(Failure::new(Exit::Failure, format!("run '{}' {}", self.run, status.code())).code("run.failed"))
            }
        }
    }
}

fn standing(view: &RunView) -> String {
    let mut parts = Vec::new();
    if let Some(point) = view.curve.last() {
        parts.push(format!("{} after round {}", point.accuracy, point.round));
    }
    let waiting: Vec<_> =
        view.answers.iter().filter(|a| a.answer == "waiting" || a.absent).map(|a| a.party.as_str()).collect();
    if !waiting.is_empty() {
        parts.push(format!("waiting for {}", waiting.join(", ")));
    }
    parts.join("; ")
}

/// List all runs, newest first.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende run list")]
pub struct List {}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let runs = view::runs(member.state());
        context.out.result(&runs, || {
            let mut table = Table::new(&["run", "status", ">rounds", ">accuracy", "parties", "proposed by"]);
            for run in &runs {
                let status = run.failure.as_ref().map_or(run.status.clone(), |f| format!("{}: {f}", run.status));
                let rounds = format!("{}/{}", run.rounds_done, run.rounds);
                let accuracy = run.accuracy.clone().unwrap_or_else(|| "–".to_owned());
                table.row([&run.id, &status, &rounds, &accuracy, &run.parties.join(", "), &run.proposed_by]);
            }
            table.render_or("no runs yet: propose one with 'allmende run propose'")
        })
    }
}

/// Show a run: plan, answers, rounds, results.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende run show first --json")]
pub struct Show {
    /// The run
    run: RunId,
}

/// Shows one run.
///
/// # Errors
/// When there is no such run.
pub fn show(member: &Member<'_>, id: &RunId) -> Result<(), Failure> {
    member.run(id)?;
    let view = view::run(member.state(), id).ok_or_else(|| Failure::internal("the run is gone"))?;
    member.context.out.result(&view, || text(&view))
}

fn text(view: &RunView) -> String {
    let dash = || "–".to_owned();
    let s = &view.summary;
    let mut text = fields([
        ("run", s.id.clone()),
        ("status", s.failure.as_ref().map_or(s.status.clone(), |f| format!("{}: {f}", s.status))),
        ("rounds", format!("{} of {}", s.rounds_done, s.rounds)),
        ("accuracy", s.accuracy.clone().unwrap_or_else(dash)),
        ("model", format!("{}, {} parameters", view.model, view.parameters)),
        ("training", view.training.clone()),
        ("outer step", view.outer.clone()),
        ("clauses", view.clauses.join(", ")),
        ("agreement", view.agreement.clone()),
        ("plan", view.plan.clone()),
        ("final model", view.final_model.clone().unwrap_or_else(dash)),
        ("released", view.licence.clone().unwrap_or_else(dash)),
    ]);
    let mut table = Table::new(&["party", "dataset", "answer", ">right", ">of", ">accuracy"]);
    for answer in &view.answers {
        let result = view.results.iter().find(|r| r.party == answer.party);
        let number = |n: Option<u64>| n.map_or_else(dash, |n| n.to_string());
        let said = match (&answer.code, answer.absent) {
            (Some(code), _) => format!("{}: {code}", answer.answer),
            (None, true) => format!("{}, absent", answer.answer),
            _ => answer.answer.clone(),
        };
        let accuracy = result.map_or_else(dash, |r| r.accuracy.clone());
        table.row([
            &answer.party,
            &answer.asset,
            &said,
            &number(result.map(|r| r.correct)),
            &number(result.map(|r| r.total)),
            &accuracy,
        ]);
    }
    text.push_str(&format!("\n{table}"));
    if !view.curve.is_empty() {
        let mut table = Table::new(&[">round", ">right", ">of", ">accuracy"]);
        for point in &view.curve {
            table.row([
                &point.round.to_string(),
                &point.correct.to_string(),
                &point.total.to_string(),
                &point.accuracy,
            ]);
        }
        text.push_str(&format!("\n{table}"));
    }
    text
}
