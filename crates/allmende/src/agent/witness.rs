//! Witnessing: a node cosigns what it has verified and stored, and acts only on what enough members saw alike, freshly.
//!
//! Every cosignature is checked against the root that this node computed at that size. A hub that shows two members
//! different histories cannot gather a quorum for either.

use std::collections::BTreeMap;

use allmende_core::id::{Label, Origin, PartyId};
use allmende_core::ledger::checkpoint::NoteSignature;
use allmende_core::state::State;
use allmende_core::time::Timestamp;

use super::settings::OutsideWitness;
use crate::api::Witnessed;
use crate::client::http::Signer;
use crate::client::mirror::Mirror;

/// How much a witness's clock may differ from ours, in seconds.
pub const SKEW_S: u64 = 10;
/// Most cosignatures that one answer may carry.
const MAX_WITNESSED: usize = 4_096;

/// Of `members` parties, how many must have seen the same: more than (n + f)/2, where f = (n − 1)/3, at least one, may lie.
#[must_use]
pub const fn quorum(members: usize) -> usize {
    match members {
        0 | 1 => 1,
        n => {
            let third = (n - 1) / 3;
            let liars = if third == 0 { 1 } else { third };
            let most = (n + liars) / 2 + 1;
            // Two members can only both agree.
            if most > n { n } else { most }
        }
    }
}

/// The name under which a node cosigns: its key signs under this one only.
#[must_use]
pub fn witness_name(party: &PartyId, node: &Label) -> Option<Origin> {
    format!("{party}/{node}").parse().ok()
}

/// This node's cosignature over the newest checkpoint that it verified and stored, and its size; none while it has none,
/// or after an alarm.
#[must_use]
pub fn cosign(mirror: &Mirror, signer: &Signer, node: &Label, now: Timestamp) -> Option<(u64, NoteSignature)> {
    if mirror.alarm().is_some() {
        return None;
    }
    let checkpoint = &mirror.checkpoint()?.checkpoint;
    let name = witness_name(&signer.party, node)?;
    Some((checkpoint.size, checkpoint.cosign(&name, &signer.key, seconds(now))))
}

/// Whether a cosignature of `time_s` is fresh at `now`.
#[must_use]
pub fn is_fresh(time_s: u64, now: Timestamp, freshness_s: u64) -> bool {
    let now_s = seconds(now);
    time_s <= now_s.saturating_add(SKEW_S) && time_s.saturating_add(freshness_s + SKEW_S) >= now_s
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.0.div_euclid(1_000)).unwrap_or(0)
}

/// The largest size at which somebody saw what we see, and when it said so, in seconds since 1970.
pub type Seen = (u64, u64);

/// What the witnesses say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnesses {
    /// What each party freshly saw.
    pub parties: BTreeMap<PartyId, Seen>,
    /// What a witness outside did.
    pub outside: Option<Seen>,
    /// Parties that are needed.
    pub quorum: usize,
}

impl Witnesses {
    /// Counts the cosignatures in `lines` that hold, freshly, for what `mirror` has verified. The node's own party counts
    /// with all that is verified here.
    #[must_use]
    pub fn count(
        mirror: &Mirror,
        own: &PartyId,
        lines: &[Witnessed],
        outside: &[OutsideWitness],
        freshness_s: u64,
        now: Timestamp,
    ) -> Self {
        let state = mirror.state();
        let mut parties = BTreeMap::new();
        let mut best_outside = None;
        if state.members().contains_key(own) {
            parties.insert(own.clone(), (mirror.verified(), seconds(now)));
        }
        for line in lines.iter().take(MAX_WITNESSED) {
            let Some(checkpoint) = mirror.at(line.size).filter(|c| c.size <= mirror.verified()) else { continue };
            let Ok(signature) = line.line.parse::<NoteSignature>() else { continue };
            let fresh = |name: &Origin, key| {
                let time_s = signature.cosigned_at_s(&checkpoint, name, key)?;
                is_fresh(time_s, now, freshness_s).then_some((line.size, time_s.min(seconds(now))))
            };
            if let Some((party, name)) = node_name(state, line)
                && let Some(said) = fresh(&name, &line.key)
            {
                let seen = parties.entry(party).or_default();
                *seen = said.max(*seen);
            }
            best_outside = outside.iter().filter_map(|w| fresh(&w.name, &w.key)).max().max(best_outside);
        }
        // An outside witness may also stand on the hub's own checkpoint.
        if let Some(signed) = mirror.checkpoint() {
            let known: Vec<_> = outside.iter().map(|w| (w.name.clone(), w.key)).collect();
            let times = signed.cosignatures(&known).into_iter().map(|(_, time_s)| time_s);
            let newest = times.filter(|&time_s| is_fresh(time_s, now, freshness_s)).max();
            best_outside = newest.map(|time_s| (mirror.verified(), time_s.min(seconds(now)))).max(best_outside);
        }
        Self { parties, outside: best_outside, quorum: quorum(state.members().len()) }
    }

    /// The largest size that enough witnesses freshly saw alike, and since when not all of them have said so again: what
    /// they say does not become fresher by being passed on late. None while too few do.
    #[must_use]
    pub fn acting(&self) -> Option<Seen> {
        let descending = |mut values: Vec<u64>| {
            values.sort_unstable_by(|a, b| b.cmp(a));
            values.get(self.quorum - 1).copied()
        };
        let seen: Vec<Seen> = self.parties.values().copied().filter(|&(size, _)| size > 0).collect();
        let members = descending(seen.iter().map(|&(size, _)| size).collect()).and_then(|acting| {
            let times = seen.iter().filter(|&&(size, _)| size >= acting).map(|&(_, time_s)| time_s).collect();
            Some((acting, descending(times)?))
        });
        members.max(self.outside)
    }
}

/// The member whose node the line names, and the name under which that one must have signed it.
fn node_name(state: &State, line: &Witnessed) -> Option<(PartyId, Origin)> {
    let party = line.party.as_ref().filter(|party| state.members().contains_key(*party))?;
    let node = state.parties().get(party)?.nodes.get(&line.key)?;
    Some((party.clone(), witness_name(party, node)?))
}

/// By how much the log's newest entry is dated ahead of this node's clock, in milliseconds, where that is more than
/// `skew_ms`. Either clock may be wrong; until they fit, deadlines and dates of the log mean nothing here.
#[must_use]
pub fn dated_ahead_ms(last_arrival: Timestamp, now: Timestamp, skew_ms: i64) -> Option<i64> {
    let ahead_ms = last_arrival.0.saturating_sub(now.0);
    (ahead_ms > skew_ms).then_some(ahead_ms)
}
