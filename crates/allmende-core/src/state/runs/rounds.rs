//! Rounds: updates come in, and the hub closes a round with exactly those that count.

use super::{Run, Status, Track};
use crate::agreement::check::Outcome;
use crate::digest::Digest;
use crate::run::plan::{Coalition, MAX_MODEL_BYTES, Outer};
use crate::state::{Context, Refusal, State};
use crate::statement::{Counted, RoundClosed, TrackDropped, UpdateSubmitted};
use crate::time::Timestamp;

type Checked = Result<(), Refusal>;

impl Run {
    /// Whether `coalition`'s open round may close at `now`: every present member has sent its update, or the time is up and
    /// the minimum is met. A measuring track needs all of its members.
    #[must_use]
    pub fn may_close(&self, coalition: Coalition, now: Timestamp) -> bool {
        let Some(track) = self.track(coalition).filter(|t| t.is_active(&self.plan)) else { return false };
        let sent = track.updates.len();
        if coalition != self.whole() {
            return sent == coalition.len() as usize;
        }
        let waiting = self.present().any(|slot| !track.updates.contains_key(&slot));
        sent >= self.plan.min_parties as usize && (!waiting || now >= self.deadline(track.opened_at))
    }

    /// Whether a measuring track may be given up at `now`: its time is up, or a member refused or is gone.
    #[must_use]
    pub fn may_drop(&self, coalition: Coalition, now: Timestamp) -> bool {
        let Some(track) = self.track(coalition).filter(|t| t.is_active(&self.plan)) else { return false };
        if coalition == self.whole() || self.may_close(coalition, now) {
            return false;
        }
        let gone = coalition.slots().any(|slot| !self.present().any(|p| p as usize == slot));
        gone || now >= self.round_deadline(track)
    }

    /// Those of a measuring track whose members do not all go on: who is present, if somebody is not, and otherwise who has
    /// sent its update of the open round.
    fn who_is_there(&self, coalition: Coalition) -> Coalition {
        let present: Coalition = self.present().filter(|&slot| coalition.contains(slot as usize)).collect();
        if present != coalition {
            return present;
        }
        self.track(coalition).map_or(present, |track| track.updates.keys().copied().collect())
    }

    /// When `track`'s open round is over at the latest. The whole coalition's time begins with the round. Measuring tracks
    /// are all open at once and a node works on one after the other, the whole coalition's first: their time is up when
    /// nothing has come from anybody for that long.
    #[must_use]
    pub fn round_deadline(&self, track: &Track) -> Timestamp {
        self.deadline(if track.coalition == self.whole() { track.opened_at } else { self.changed_at })
    }
}

impl State {
    /// Whether the terms still allow what the run does, at this time.
    ///
    /// # Errors
    /// [`Refusal::NotInForce`] or [`Refusal::Denied`].
    pub fn still_allowed(&self, run: &Run, at: Timestamp) -> Checked {
        if self.in_force(&run.plan.agreement, at).is_none() {
            return Err(Refusal::NotInForce { agreement: Some(run.plan.agreement) });
        }
        let decision = self.judge_plan(&run.plan, &run.proposed_by, at);
        match decision.outcome {
            Outcome::Allow => Ok(()),
            Outcome::Deny => Err(Refusal::Denied { decision: Box::new(decision) }),
        }
    }

    /// Checks what the hub must know before it takes any byte of an update.
    ///
    /// # Errors
    /// [`Refusal`] says why this update would not count.
    pub fn check_update(&self, party: &crate::id::PartyId, body: &UpdateSubmitted, at: Timestamp) -> Checked {
        let run = self.run(&body.run)?;
        run.require(Status::Started)?;
        let asset = self.require_slot(run, body.slot, party)?;
        self.still_allowed(run, at)?;
        let no_track = || Refusal::NoTrack { coalition: body.coalition };
        let track = run.track(body.coalition).filter(|t| t.is_active(&run.plan)).ok_or_else(no_track)?;
        if !body.coalition.contains(body.slot as usize) {
            return Err(Refusal::NoSlot { party: party.clone() });
        }
        if body.round != track.round() {
            return Err(Refusal::WrongRound { expected: track.round(), got: body.round });
        }
        require_model(track.model(), body.base)?;
        let cap = self.asset(&asset).map_or(0, |a| a.train_rows);
        if body.weight == 0 || body.weight > cap {
            return Err(Refusal::Overweight { cap, got: body.weight });
        }
        if body.size_bytes == 0 || body.size_bytes > MAX_MODEL_BYTES + (1 << 20) {
            return Err(Refusal::Limit { what: "bytes in one update", limit: MAX_MODEL_BYTES + (1 << 20) });
        }
        if track.updates.contains_key(&body.slot) {
            return Err(Refusal::AlreadySubmitted {});
        }
        Ok(())
    }

    pub(in crate::state) fn update_submitted(&mut self, context: &Context<'_>, body: &UpdateSubmitted) -> Checked {
        self.check_update(context.party(), body, context.at)?;
        self.require_node(context, self.run(&body.run)?, body.slot)?;
        let run = self.run_mut(&body.run)?;
        run.absent.remove(&body.slot);
        run.changed_at = context.at;
        if let Some(track) = run.tracks.iter_mut().find(|t| t.coalition == body.coalition) {
            let counted = Counted { slot: body.slot, update: body.update, weight: body.weight };
            track.updates.insert(body.slot, counted);
        }
        Ok(())
    }

    pub(in crate::state) fn round_closed(&mut self, context: &Context<'_>, body: &RoundClosed) -> Checked {
        let run = self.run(&body.run)?;
        run.require(Status::Started)?;
        self.require_agreement(context, run)?;
        let no_track = || Refusal::NoTrack { coalition: body.coalition };
        let track = run.track(body.coalition).filter(|t| t.is_active(&run.plan)).ok_or_else(no_track)?;
        if body.round != track.round() {
            return Err(Refusal::WrongRound { expected: track.round(), got: body.round });
        }
        if !run.may_close(body.coalition, context.at) {
            return Err(Refusal::TooEarly { detail: "updates are missing and the round's time is not up" });
        }
        let due: Vec<Counted> = track.updates.values().cloned().collect();
        if body.counted != due {
            let expected = format!("round {} counts {} updates in the order of slots", body.round, due.len());
            return Err(Refusal::WrongResult { what: "the list of updates", expected });
        }
        if body.velocity.is_some() != matches!(run.plan.outer, Outer::Nesterov { .. }) {
            return Err(Refusal::WrongResult {
                what: "the outer state",
                expected: "as the plan's outer step needs".into(),
            });
        }
        let whole = body.coalition == run.whole();
        let size = self.size + 1;
        let run = self.run_mut(&body.run)?;
        run.changed_at = context.at;
        if whole {
            let missing: Vec<u32> = run.present().filter(|slot| !due.iter().any(|c| c.slot == *slot)).collect();
            run.absent.extend(missing);
        }
        if let Some(track) = run.tracks.iter_mut().find(|t| t.coalition == body.coalition) {
            track.models.push(body.model);
            track.known_at.push(size);
            track.velocity = body.velocity;
            track.opened_at = context.at;
            track.updates.clear();
            track.closed.push(due);
        }
        Ok(())
    }

    pub(in crate::state) fn track_dropped(&mut self, context: &Context<'_>, body: &TrackDropped) -> Checked {
        let run = self.run(&body.run)?;
        run.require(Status::Started)?;
        self.require_agreement(context, run)?;
        if run.track(body.coalition).is_none_or(|t| !t.is_active(&run.plan)) {
            return Err(Refusal::NoTrack { coalition: body.coalition });
        }
        if !run.may_drop(body.coalition, context.at) {
            return Err(Refusal::TooEarly { detail: "the track can still go on" });
        }
        let there = run.who_is_there(body.coalition);
        let run = self.run_mut(&body.run)?;
        // Nobody did anything: what else waits for a sign of life does not wait longer.
        if let Some(track) = run.tracks.iter_mut().find(|t| t.coalition == body.coalition) {
            track.dropped = Some(there);
        }
        Ok(())
    }
}

pub(super) fn require_model(expected: Digest, got: Digest) -> Checked {
    if expected == got { Ok(()) } else { Err(Refusal::WrongModel { expected, got }) }
}
