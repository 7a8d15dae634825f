//! What each party gave and what it is owed.

use std::collections::BTreeMap;

use allmende_core::amount::Amount;
use allmende_core::contribution::Ratio;
use allmende_core::id::{Label, RunId};
use allmende_core::ledger::account::{Account, Transfer};
use allmende_core::state::State;
use allmende_core::state::runs::Run;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{members_of, percent};

/// The contributions to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContributionView {
    /// Of which run.
    pub run: String,
    /// By which rule of the terms: `shapley`, `equal` or `fixed`.
    pub rule: String,
    /// Per cent of every pool that goes to the compensation fund first.
    pub fund_percent: u32,
    /// Worth of every coalition that was measured.
    pub coalitions: Vec<CoalitionView>,
    /// Each party's weight in the benefit, in the order of slots.
    pub shares: Vec<ShareView>,
}

/// What a coalition's model achieves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CoalitionView {
    /// Who trained.
    pub parties: Vec<String>,
    /// Rows right over all held-out sets.
    pub correct: u64,
    /// Rows evaluated.
    pub total: u64,
    /// Per cent of rows right.
    pub accuracy: String,
}

/// A party's weight in the benefit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareView {
    /// The party.
    pub party: String,
    /// Its weight as an exact fraction.
    pub weight: String,
    /// Its part of all weights, in per cent with two decimals, for people only.
    pub percent: String,
}

/// Money divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayoutView {
    /// Its name.
    pub payout: String,
    /// For which run.
    pub run: String,
    /// Who pays.
    pub payer: String,
    /// Currency of the terms.
    pub currency: String,
    /// What was divided, in major units.
    pub pool: String,
    /// Who received how much; the fund first.
    pub parts: Vec<PayoutPart>,
}

/// A part of a payout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayoutPart {
    /// `fund`, or the party.
    pub to: String,
    /// In major units.
    pub amount: String,
    /// In minor units.
    pub minor: String,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// Its name: `payer:…`, `party:…` or `fund`.
    pub account: String,
    /// Given, in major units.
    pub debits: String,
    /// Received, in major units.
    pub credits: String,
    /// Received less given, in major units.
    pub balance: String,
}

/// The measured contributions to the run of this name; nothing before they were measured.
#[must_use]
pub fn contribution(state: &State, id: &RunId) -> Option<ContributionView> {
    let run = state.runs().get(id)?;
    let contribution = run.contribution.as_ref()?;
    let (_, benefit) = state.benefit(run)?;
    let total = contribution.shares.iter().map(|s| s.to_f64()).sum::<f64>();
    let share = |(slot, weight): (&allmende_core::run::plan::Slot, &Ratio)| ShareView {
        party: slot.party.to_string(),
        weight: weight.to_string(),
        percent: if total > 0.0 { format!("{:.2} %", weight.to_f64() / total * 100.0) } else { "–".to_owned() },
    };
    let coalition = |value: &allmende_core::statement::CoalitionValue| CoalitionView {
        parties: members_of(value.coalition, &run.plan),
        correct: value.correct,
        total: value.total,
        accuracy: percent(value.correct, value.total),
    };
    Some(ContributionView {
        run: run.id.to_string(),
        rule: benefit.rule.code().to_owned(),
        fund_percent: benefit.fund,
        coalitions: contribution.values.iter().map(coalition).collect(),
        shares: run.plan.slots.iter().zip(&contribution.shares).map(share).collect(),
    })
}

/// All payouts, by name.
#[must_use]
pub fn payouts(state: &State) -> Vec<PayoutView> {
    // One pass over the books: a transfer's name is the payout's, a colon and the account credited.
    let mut transfers: BTreeMap<&str, Vec<&Transfer>> = BTreeMap::new();
    for recorded in state.accounts().transfers() {
        if let Some((payout, _)) = recorded.transfer.id.as_str().split_once(':') {
            transfers.entry(payout).or_default().push(&recorded.transfer);
        }
    }
    let view = |(payout, run): (&Label, &RunId)| {
        let transfers = transfers.get(payout.as_str()).map_or(&[][..], Vec::as_slice);
        payout_view(payout, state.runs().get(run)?, transfers, state)
    };
    state.payouts().iter().filter_map(view).collect()
}

fn payout_view(payout: &Label, run: &Run, transfers: &[&Transfer], state: &State) -> Option<PayoutView> {
    let (terms, _) = state.benefit(run)?;
    let to = |account: &str| transfers.iter().find(|t| t.credit.as_str() == account).map_or(0, |t| t.amount.minor());
    let slots = run.plan.slots.iter().map(|slot| (slot.party.to_string(), to(&format!("party:{}", slot.party))));
    // Nothing was posted for a part of zero, but it is shown all the same.
    let parts: Vec<_> = std::iter::once(("fund".to_owned(), to("fund"))).chain(slots).collect();
    let payer = transfers.first().map(|t| t.debit.as_str()).unwrap_or_default();
    Some(PayoutView {
        payout: payout.to_string(),
        run: run.id.to_string(),
        payer: payer.strip_prefix("payer:").unwrap_or(payer).to_owned(),
        currency: terms.currency.clone(),
        pool: major(parts.iter().map(|part| i128::from(part.1)).sum()),
        parts: parts
            .into_iter()
            .map(|(to, minor)| PayoutPart { to, amount: major(minor.into()), minor: minor.to_string() })
            .collect(),
    })
}

/// Minor units as major ones with thousands separators, a minus in front where due.
fn major(minor: i128) -> String {
    let sign = if minor < 0 { "−" } else { "" };
    let magnitude = minor.unsigned_abs();
    match i64::try_from(magnitude).ok().and_then(|m| Amount::from_minor(m).ok()) {
        Some(amount) => format!("{sign}{amount}"),
        // Sums of many amounts may leave an amount's range.
        None => format!("{sign}{}.{:02}", magnitude / 100, magnitude % 100),
    }
}

/// All accounts, by name.
#[must_use]
pub fn accounts(state: &State) -> Vec<AccountView> {
    let signed = |total: u128| i128::try_from(total).unwrap_or(i128::MAX);
    let view = |(id, account): (&_, &Account)| AccountView {
        account: ToString::to_string(id),
        debits: major(signed(account.debits_posted.0)),
        credits: major(signed(account.credits_posted.0)),
        balance: account.balance_minor().map_or_else(|| "?".to_owned(), major),
    };
    state.accounts().accounts().map(view).collect()
}
