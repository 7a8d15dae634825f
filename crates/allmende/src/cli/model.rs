//! `model`: releasing what a run made, and predicting with it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use allmende_core::agreement::clause::ClauseKind;
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::digest::Digest;
use allmende_core::id::RunId;
use allmende_core::licence::Answer;
use allmende_core::state::Cleared;
use allmende_core::statement::ModelReleased;
use clap::{ArgGroup, Args, Subcommand};

use super::context::Context;
use super::decision;
use super::failure::{Exit, Failure};
use super::member::Member;
use super::table::Table;
use crate::api::{Manifest, PredictRequest};

/// Largest manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// How long the hub may take to record what follows from a vote.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Most rows in one request.
const MAX_ROWS: usize = 1_000;

/// Publish models.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Publish the model of a finished run, once the members decided so
    Release(Release),
}

impl Model {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Release(command) => command.run(context).await,
        }
    }
}

/// Publish the model of a finished run, once the members decided so.
///
/// The first call puts the release to the members and votes yes; after the others have voted, call it again: it signs the
/// manifest of the files that the hub will give out (weights, model card, configuration) under the licence of the terms.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende model release first")]
pub struct Release {
    /// The run
    run: RunId,
    /// Release it although the licences of some sources leave open whether one may; which ones then stands in the decision
    #[arg(long)]
    accept_open: bool,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Release {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let run = member.run(&self.run)?;
        let (agreement, status) = (run.plan.agreement, run.status.code());
        if run.released.is_some() {
            context.out.note("It is published already.");
            return super::run::show(&member, &self.run);
        }
        let model = run.final_model.ok_or_else(|| {
            Failure::new(Exit::Refused, format!("run '{}' is {status}; only a finished run has a model", self.run))
                .code("run.status")
                .next(format!("follow it with 'allmende run watch {}'", self.run))
        })?;
        let cleared = member.state().clear_release(run, context.now());
        let subject = Subject::Release { run: self.run.clone(), model, accepted: cleared.open.clone() };
        let has_passed = member.state().has_passed(&subject);
        self.heed(context, &cleared, has_passed)?;
        if !has_passed && !self.decide(context, &mut member, &subject).await? {
            return Ok(());
        }
        let licence = member.state().agreements().get(&agreement).and_then(|a| {
            a.terms.clause.iter().find_map(|c| match &c.rule {
                ClauseKind::Results(results) => Some(results.licence),
                _ => None,
            })
        });
        let licence = licence.ok_or_else(|| {
            Failure::new(Exit::Refused, "the terms say nothing about results, so nothing can be published")
                .code("agreement.denied")
                .next("amend the terms by a clause of kind results")
        })?;
        let bytes =
            member.hub().run_file(&member.collaboration, &self.run, "manifest.json", MAX_MANIFEST_BYTES).await?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| wrong(&format!("is malformed: {e}")))?;
        if !manifest.files.iter().any(|file| file.digest == model) {
            return Err(wrong("does not hold the model that the run ended with"));
        }
        let mut table = Table::new(&["file", ">bytes", "digest"]);
        for file in &manifest.files {
            table.row([file.path.clone(), file.size_bytes.to_string(), file.digest.to_string()]);
        }
        context.out.note(&format!("{table}licence {licence}"));
        if !self.yes && !context.out.confirm("Publish these files?")? {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        let body = ModelReleased {
            run: self.run.clone(),
            model,
            manifest: Digest::of(&bytes),
            licence: licence.code().to_owned(),
        };
        member.sign(body, Some(agreement)).await?;
        super::run::show(&member, &self.run)
    }

    /// Says what the licences of the sources say, and refuses what they forbid, or leave open without its being accepted.
    fn heed(&self, context: &Context, cleared: &Cleared, has_passed: bool) -> Result<(), Failure> {
        for warning in cleared.verdict.warnings() {
            context.out.note(&warning);
        }
        let reasons = cleared.verdict.reasons.join("; ");
        let passing: Vec<&str> = cleared.passing.iter().map(|licence| licence.code()).collect();
        let amend = match passing.as_slice() {
            [] => "train again without these assets".to_owned(),
            some => format!("amend the results clause to {}, or train again without these assets", some.join(" or ")),
        };
        match cleared.verdict.answer {
            Answer::Incompatible => {
                Err(Failure::new(Exit::Refused, format!("the licences of its sources forbid this release: {reasons}"))
                    .code("licence.forbids")
                    .next(amend))
            }
            Answer::Unknown if !self.accept_open && !has_passed => {
                Err(Failure::new(Exit::Refused, format!("licences leave this release open: {reasons}"))
                    .code("licence.open")
                    .next(format!(
                        "read them; then accept it with --accept-open, which the decision will say, or {amend}"
                    )))
            }
            Answer::Compatible | Answer::Unknown => Ok(()),
        }
    }

    /// Opens the decision or votes in it, and says whether it has passed by now.
    async fn decide(&self, context: &Context, member: &mut Member<'_>, subject: &Subject) -> Result<bool, Failure> {
        let id = match decision::find_open(member, subject) {
            Some(id) => id,
            None => {
                if !self.yes && !context.out.confirm("Put the release to the members, and vote yes?")? {
                    return Err(Failure::new(Exit::Failure, "nothing was signed"));
                }
                decision::open(member, &format!("release-{}", self.run), subject.clone()).await?
            }
        };
        let me = member.home.party().clone();
        let voted =
            |member: &Member<'_>| member.state().decisions().get(&id).is_some_and(|d| d.votes.contains_key(&me));
        if !voted(member) {
            decision::vote(member, &id, Vote::Yes).await?;
        }
        let complete = |member: &Member<'_>| {
            member.state().decisions().get(&id).is_none_or(|d| d.closed.is_some() || d.votes.len() == d.voters.len())
        };
        let since = Instant::now();
        while complete(member) && since.elapsed() < PATIENCE && decision::find_open(member, subject).is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
            member.follow().await?;
        }
        if member.state().has_passed(subject) {
            return Ok(true);
        }
        decision::show(member, &id)?;
        context.out.note(&format!(
            "The others vote with 'allmende decision vote {id} yes'; then run 'allmende model release {}' again.",
            self.run
        ));
        Ok(false)
    }
}

fn wrong(what: &str) -> Failure {
    Failure::new(Exit::Wrong, format!("the hub's manifest {what}"))
        .code("model.manifest")
        .next("do not sign it; ask the hub's operator")
}

/// Classify rows with a released model.
///
/// The rows go to the hub, which answers with the model: they are questions of yours, not rows of a registered dataset.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true).args(["csv", "row"]))]
#[command(after_long_help = "Example:\n  allmende predict first --csv questions.csv")]
pub struct Predict {
    /// The run whose model answers
    run: RunId,
    /// A CSV file of features, one row a line; a heading line and a label column are left out
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// One row: features with commas between; may be repeated
    #[arg(long, value_name = "VALUES", allow_hyphen_values = true)]
    row: Vec<String>,
}

impl Predict {
    /// Runs the command.
    ///
    /// # Errors
    /// When the rows do not fit the model, or the terms do not let you be served.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let inputs = member.run(&self.run)?.plan.model.widths().first().map_or(0, |&w| w as usize);
        let rows = match &self.csv {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
                rows(text.lines(), inputs, true).map_err(|e| Failure::file(path, e))?
            }
            None => rows(self.row.iter().map(String::as_str), inputs, false).map_err(Failure::usage)?,
        };
        let spinner = context.out.spinner("asking the model");
        let answer = member.hub().predict(&member.collaboration, &self.run, &PredictRequest { rows }).await;
        spinner.finish_and_clear();
        let answer = answer?;
        context.out.result(&answer, || {
            let mut table = Table::new(&[">row", ">class", ">probability"]);
            for (i, (class, all)) in answer.classes.iter().zip(&answer.probabilities).enumerate() {
                let probability = all.get(*class as usize).copied().unwrap_or(f32::NAN);
                table.row([(i + 1).to_string(), class.to_string(), format!("{:.1} %", probability * 100.0)]);
            }
            table.to_string()
        })
    }
}

/// Rows of `inputs` numbers. With `table` a heading and a last column beyond the inputs, the label, are left out.
fn rows<'t>(lines: impl Iterator<Item = &'t str>, inputs: usize, table: bool) -> Result<Vec<Vec<f32>>, String> {
    let mut rows = Vec::new();
    for (i, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if table && i == 0 && cells.iter().any(|cell| cell.parse::<f32>().is_err()) {
            continue;
        }
        if table && cells.len() == inputs + 1 {
            cells.pop();
        }
        if cells.len() != inputs {
            return Err(format!("row {}: {} values, the model takes {inputs}", i + 1, cells.len()));
        }
        let number = |cell: &&str| cell.parse::<f32>().ok().filter(|v| v.is_finite());
        let row: Option<Vec<f32>> = cells.iter().map(number).collect();
        rows.push(row.ok_or_else(|| format!("row {}: not all values are finite numbers", i + 1))?);
        if rows.len() > MAX_ROWS {
            return Err(format!("more than {MAX_ROWS} rows: ask in several calls"));
        }
    }
    if rows.is_empty() { Err("no rows".to_owned()) } else { Ok(rows) }
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn rows_of_questions() {
        assert_eq!(rows("a,b,label\n1,2,0\n\n3,-4.5,1\n".lines(), 2, true), Ok(vec![vec![1.0, 2.0], vec![3.0, -4.5]]));
        assert_eq!(rows("1,2".lines(), 2, false), Ok(vec![vec![1.0, 2.0]]));
        for bad in ["", "1", "1,2,3,4", "1,x", "1,inf", "a,b"] {
            assert!(rows(bad.lines(), 2, false).is_err(), "{bad}");
        }
    }
}
