//! Contributions and payouts: numbers that everyone computes alike from what stands in the log.

use super::runs::{Contribution, Run, Status};
use super::{Checked, Context, Refusal, State};
use crate::agreement::clause::{Benefit, ClauseKind};
use crate::agreement::terms::Terms;
use crate::agreement::vocabulary::BenefitRule;
use crate::amount::Amount;
use crate::contribution::{AllZero, Negative, Ratio, shapley, shares};
use crate::id::PartyId;
use crate::ledger::account::{AccountId, Action, Transfer};
use crate::run::plan::Coalition;
use crate::settlement::{Settlement, settle};
use crate::statement::{CoalitionValue, ContributionMeasured, PayoutPosted};

/// Most payouts in one collaboration.
const MAX_PAYOUTS: usize = 100_000;

impl State {
    /// The benefit clause of the terms that `run` ran under.
    #[must_use]
    pub fn benefit(&self, run: &Run) -> Option<(&Terms, &Benefit)> {
        let terms = &self.agreements.get(&run.plan.agreement)?.terms;
        terms.clause.iter().find_map(|c| match &c.rule {
            ClauseKind::Benefit(benefit) => Some((terms, benefit)),
            _ => None,
        })
    }

    /// The contributions to a finished run, as the terms measure them.
    ///
    /// # Errors
    /// [`Refusal::TooEarly`] when evaluations are missing, [`Refusal::WrongStatus`] before the end.
    pub fn contribution(&self, run: &Run) -> Result<Contribution, Refusal> {
        run.require(Status::Finished)?;
        let (_, benefit) =
            self.benefit(run).ok_or(Refusal::TooEarly { detail: "the terms have no clause on benefit" })?;
        let slots = run.plan.slots.len();
        let incomplete = Refusal::TooEarly { detail: "fewer members than the minimum evaluated every coalition" };
        match benefit.rule {
            BenefitRule::Shapley => {
                let empty = benefit.empty.unwrap_or(0);
                let values: Vec<CoalitionValue> = run
                    .tracks
                    .iter()
                    .map(|t| run.worth(t.coalition, empty).ok_or_else(|| incomplete.clone()))
                    .collect::<Result<_, _>>()?;
                let utility = |coalition: Coalition| {
                    if coalition.is_empty() {
                        return Some(i64::from(empty));
                    }
                    let value = values.iter().find(|v| v.coalition == coalition)?;
                    i64::try_from(value.correct).ok()
                };
                let exact = shapley(slots, utility).map_err(|_| incomplete.clone())?;
                let shares = shares(&exact, Negative::Zero, AllZero::Equal);
                Ok(Contribution { values, shares })
            }
            BenefitRule::Equal => Ok(Contribution { values: Vec::new(), shares: vec![Ratio::ONE; slots] }),
            BenefitRule::Fixed => {
                let of = |party: &PartyId| Ratio::whole(benefit.shares.get(party).copied().map_or(0, i64::from));
                let shares = run.plan.slots.iter().map(|slot| of(&slot.party)).collect();
                Ok(Contribution { values: Vec::new(), shares })
            }
        }
    }

    pub(super) fn contribution_measured(&mut self, body: &ContributionMeasured) -> Checked {
        let run = self.run(&body.run)?;
        if run.contribution.is_some() {
            return Err(Refusal::AlreadyDone { what: "this run's contributions were measured" });
        }
        let due = self.contribution(run)?;
        if body.values != due.values || body.shares != due.shares {
            return Err(Refusal::WrongResult { what: "the contribution", expected: format!("{:?}", due.shares) });
        }
        if let Some(run) = self.runs.get_mut(&body.run) {
            run.contribution = Some(due);
        }
        Ok(())
    }

    /// How `pool` is divided over the slots of `run`.
    ///
    /// # Errors
    /// [`Refusal::TooEarly`] before the contributions were measured.
    pub fn divide(&self, run: &Run, pool: Amount) -> Result<Settlement, Refusal> {
        let unmeasured = Refusal::TooEarly { detail: "the contributions were not measured yet" };
        let (_, benefit) = self.benefit(run).ok_or_else(|| unmeasured.clone())?;
        let contribution = run.contribution.as_ref().ok_or_else(|| unmeasured.clone())?;
        settle(pool, benefit.fund, &contribution.shares)
            .map_err(|e| Refusal::WrongResult { what: "the pool", expected: e.to_string() })
    }

    pub(super) fn payout_posted(&mut self, context: &Context<'_>, body: &PayoutPosted) -> Checked {
        self.require_member(context.party())?;
        if self.payouts.contains_key(&body.payout) {
            return Err(Refusal::AlreadyDone { what: "a payout of this name was posted" });
        }
        if self.payouts.len() >= MAX_PAYOUTS {
            return Err(Refusal::Limit { what: "payouts in one collaboration", limit: MAX_PAYOUTS as u64 });
        }
        let run = self.run(&body.run)?;
        let (terms, _) =
            self.benefit(run).ok_or(Refusal::TooEarly { detail: "the terms have no clause on benefit" })?;
        if terms.currency != body.currency {
            let detail = format!("the terms say {}, not {}", terms.currency, body.currency);
            return Err(Refusal::TermsMismatch { field: "currency", detail });
        }
        let due = self.divide(run, body.pool)?;
        if body.fund != due.fund || body.amounts != due.shares {
            let expected = format!("fund {}, amounts {}", due.fund, list(&due.shares));
            return Err(Refusal::WrongResult { what: "the payout", expected });
        }
        let transfers = transfers(context.party(), run, body);
        self.accounts
            .post_opening(&transfers)
            .map_err(|e| Refusal::WrongResult { what: "the posting", expected: e.to_string() })?;
        self.payouts.insert(body.payout.clone(), body.run.clone());
        Ok(())
    }
}

fn list(amounts: &[Amount]) -> String {
    amounts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The postings of a payout: from the payer to the fund and to each party, all or nothing.
///
/// # Panics
/// Never: labels and parties are slugs, and slugs joined by ':' make names of accounts and transfers.
fn transfers(payer: &PartyId, run: &Run, body: &PayoutPosted) -> Vec<Transfer> {
    let account = |kind: &str, party: &PartyId| -> AccountId {
        format!("{kind}:{party}").parse().expect("slugs joined by ':' name an account")
    };
    let debit = account("payer", payer);
    let fund: AccountId = "fund".parse().expect("a word names an account");
    let to_parties = run.plan.slots.iter().zip(&body.amounts).map(|(slot, &a)| (account("party", &slot.party), a));
    std::iter::once((fund, body.fund))
        .chain(to_parties)
        .filter(|(_, amount)| amount.minor() > 0)
        .map(|(credit, amount)| Transfer {
            id: format!("{}:{credit}", body.payout).parse().expect("slugs joined by ':' name a transfer"),
            debit: debit.clone(),
            credit,
            amount,
            action: Action::Post,
        })
        .collect()
}
