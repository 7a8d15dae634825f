//! `contribution` and `settle`: who gave what, and money divided by it.

use std::time::{Duration, Instant};

use allmende_core::amount::Amount;
use allmende_core::id::{Label, RunId};
use allmende_core::state::runs::Status;
use allmende_core::statement::PayoutPosted;
use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::{Exit, Failure};
use super::member::Member;
use super::table::Table;
use crate::view::{self, ContributionView, PayoutView};

/// How long the hub may take to record the contributions after a run's end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Show who gave what.
#[derive(Debug, Subcommand)]
pub enum Contribution {
    /// Show what each party's part in a run was worth
    Show(Show),
}

impl Contribution {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show(command) => command.run(context).await,
        }
    }
}

/// Show what each party's part in a run was worth, as the terms measure it. Computed here from the log.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende contribution show first")]
pub struct Show {
    /// The run
    run: RunId,
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        measured(&mut member, &self.run).await?;
        let view =
            view::contribution(member.state(), &self.run).ok_or_else(|| Failure::internal("nothing was measured"))?;
        context.out.result(&view, || text(&view))
    }
}

/// Waits for what follows from the end of a run.
async fn measured(member: &mut Member<'_>, id: &RunId) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        let run = member.run(id)?;
        if run.contribution.is_some() {
            return Ok(());
        }
        if run.status != Status::Finished || since.elapsed() > PATIENCE {
            // The rules say why: not finished, or an evaluation is missing.
            let why = member.state().contribution(run).err().map(|e| e.to_string());
            return Err(Failure::new(Exit::Refused, format!("the contributions to '{id}' are not measured yet"))
                .code("contribution.unmeasured")
                .because(why.unwrap_or_else(|| "the hub has not recorded them".to_owned()))
                .next(format!("follow the run with 'allmende run watch {id}'")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        member.follow().await?;
    }
}

fn text(view: &ContributionView) -> String {
    let mut shares = Table::new(&["party", ">weight", ">share"]);
    for share in &view.shares {
        shares.row([&share.party, &share.weight, &share.percent]);
    }
    let mut text =
        format!("Run {}, rule '{}', {} % to the fund first\n\n{shares}", view.run, view.rule, view.fund_percent);
    if !view.coalitions.is_empty() {
        let mut table = Table::new(&["trained by", ">right", ">of", ">accuracy"]);
        for c in &view.coalitions {
            table.row([&c.parties.join(" + "), &c.correct.to_string(), &c.total.to_string(), &c.accuracy]);
        }
        text.push_str(&format!("\n{table}"));
    }
    text
}

/// Divide money by the contributions to a run, as the terms say, and post it. You pay it.
///
/// Every part is exact to the smallest unit and follows from the log; a wrong one is refused by hub, nodes and verifiers.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende settle --run first --pool 10000.00 --name first-payout")]
pub struct Settle {
    /// For which run
    #[arg(long)]
    run: RunId,
    /// What is divided, such as 10000.00, in the currency of the terms
    #[arg(long, value_name = "AMOUNT", value_parser = parse_amount)]
    pool: Amount,
    /// The payout's name, unique in the collaboration
    #[arg(long)]
    name: Label,
    /// Only show the division
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

fn parse_amount(text: &str) -> Result<Amount, String> {
    Amount::parse_major(text).map_err(|e| e.to_string())
}

impl Settle {
    /// Runs the command.
    ///
    /// # Errors
    /// When nothing was measured yet, or the name is taken.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        measured(&mut member, &self.run).await?;
        let run = member.run(&self.run)?;
        let division = member.state().divide(run, self.pool)?;
        let currency = member.state().benefit(run).map(|(terms, _)| terms.currency.clone()).unwrap_or_default();
        let agreement = run.plan.agreement;
        let parties: Vec<_> = run.plan.slots.iter().map(|slot| slot.party.to_string()).collect();
        let mut table = Table::new(&["to", &format!(">{currency}")]);
        table.row(["compensation fund".to_owned(), division.fund.to_string()]);
        for (party, amount) in parties.iter().zip(&division.shares) {
            table.row([party.clone(), amount.to_string()]);
        }
        if self.dry_run {
            let value =
                serde_json::json!({ "run": self.run, "pool": self.pool, "currency": currency, "division": division });
            return context.out.result(&value, || table.to_string());
        }
        context.out.note(table.to_string().trim_end());
        if !self.yes && !context.out.confirm(&format!("Post this payout of {} {currency}, paid by you?", self.pool))? {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        let body = PayoutPosted {
            payout: self.name.clone(),
            run: self.run.clone(),
            pool: self.pool,
            currency,
            fund: division.fund,
            amounts: division.shares,
        };
        member.sign(body, Some(agreement)).await?;
        let payout = view::payouts(member.state()).into_iter().find(|p| p.payout == self.name.as_str());
        let payout = payout.ok_or_else(|| Failure::internal("the payout is not in the log"))?;
        context.out.result(&payout, || posted(&payout))
    }
}

fn posted(payout: &PayoutView) -> String {
    let mut table = Table::new(&["to", &format!(">{}", payout.currency)]);
    for part in &payout.parts {
        table.row([&part.to, &part.amount]);
    }
    format!(
        "Payout '{}' of {} {} by {} is posted.\n\n{table}",
        payout.payout, payout.pool, payout.currency, payout.payer
    )
}
