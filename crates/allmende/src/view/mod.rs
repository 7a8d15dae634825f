//! What people and programs are shown of a collaboration: pure functions of the reducer's state to plain structs.
//!
//! REST answers, the command line's `--json` and the console share them, so that all three say the same. Names, keys,
//! digests, times and amounts are text as people write them; anything exact stays exact.
//!
//! Architecture invariant: no SQL, no clock, no rule. What a view shows was decided by the reducer.

mod agreement;
mod asset;
mod benefit;
mod collaboration;
mod entry;
mod repository;
mod run;

pub use agreement::{
    AgreementSummary, AgreementView, ClauseView, SignatureView, agreement, agreements, enforcer_in_words,
};
pub use asset::{AssetView, assets};
pub use benefit::{
    AccountView, CoalitionView, ContributionView, PayoutPart, PayoutView, ShareView, accounts, contribution, payouts,
};
pub use collaboration::{
    CollaborationView, DecisionView, MemberView, MilestoneView, NodeView, VoteView, collaboration, mode_in_words,
    subject_in_words,
};
pub use entry::{EntryView, UnreadableEntry, entry, statement_json};
pub use repository::{RepositoryView, repositories};
pub use run::{
    AnswerView, ConfusionCell, ConfusionView, CurvePoint, PartyResult, RunSummary, RunView, TrackView, run, runs,
};

use allmende_core::id::PartyId;
use allmende_core::run::plan::{Coalition, Plan};

/// The parties of a coalition, in the order of slots.
fn members_of(coalition: Coalition, plan: &Plan) -> Vec<String> {
    coalition.slots().filter_map(|slot| plan.slots.get(slot)).map(|slot| slot.party.to_string()).collect()
}

fn texts<'a>(parties: impl IntoIterator<Item = &'a PartyId>) -> Vec<String> {
    parties.into_iter().map(ToString::to_string).collect()
}

/// A fraction as per cent with two decimals, rounded half up; a dash for nothing of nothing.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let hundredths = (u128::from(part) * 20_000 + u128::from(whole)) / (u128::from(whole) * 2);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    #[test]
    fn per_cents_are_rounded_half_up() {
        assert_eq!(super::percent(1, 3), "33.33 %");
        assert_eq!(super::percent(2, 3), "66.67 %");
        assert_eq!(super::percent(u64::MAX, u64::MAX), "100.00 %");
        assert_eq!(super::percent(0, 0), "–");
    }
}
