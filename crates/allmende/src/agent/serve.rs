//! One node's service to one collaboration: the loop that keeps the mirror, cosigns, and judges offers.

mod jobs;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allmende_core::id::{CollaborationId, Label, Origin};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::signature::PublicKey;
use allmende_core::state::State;
use allmende_core::statement::{Body, RefusalCode, RunRefused};
use allmende_core::time::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::alarms::{Alarms, Event};
use super::checks::{self, Facts, Verdict};
use super::control::Control;
use super::owner::OwnersCopy;
use super::witness::{SKEW_S, Witnesses, cosign, dated_ahead_ms};
use super::work::Tools;
use crate::api::{SyncAnswer, SyncRequest};
use crate::client::http::{HubClient, pause};
use crate::client::mirror::{Mirror, MirrorError};
use crate::client::routes::LogName;
use crate::client::submit::{RemoteLog, SubmitError, origin_of};
use crate::clock::Clock;

/// Pause after an answer that came at once and brought nothing.
const IDLE: Duration = Duration::from_millis(500);
/// How soon to ask again while something waits for the owner or the witnesses, in seconds.
const SOON_S: u32 = 2;

/// What all services of a node share.
pub struct Shared {
    /// Where alarms go.
    pub alarms: Alarms,
    /// How the owner speaks to the node.
    pub control: Control,
    /// How much is done at once.
    pub permits: Semaphore,
    /// The node's folder.
    pub dir: PathBuf,
    /// Where the owner's commands keep their verified copies of the logs, if on this machine.
    pub copies: Option<PathBuf>,
    /// The hub's name.
    pub hub: Origin,
    /// The hub's pinned key.
    pub hub_key: PublicKey,
    /// The node's name.
    pub node: Label,
    /// The clock.
    pub clock: Clock,
    /// The connection.
    pub client: Arc<HubClient>,
    /// What work needs.
    pub tools: Tools,
}

/// What the node acts on.
struct Standing {
    /// The state up to the size that enough witnesses saw alike.
    acting: Arc<State>,
    /// When they last did, by their own word.
    fresh_at: Timestamp,
    /// Whether the owner was told that they do not.
    told: bool,
    /// Whether the owner was told that the log is dated ahead.
    told_ahead: bool,
}

/// The service to one collaboration.
pub struct Service {
    shared: Arc<Shared>,
    id: CollaborationId,
    log: RemoteLog,
    owner: OwnersCopy,
    standing: Mutex<Standing>,
    /// Work under way, or to be left alone.
    busy: Mutex<BTreeSet<String>>,
    /// Some work may be tried again.
    again: Notify,
}

impl Service {
    /// Opens the mirror, replaying all of it. None, with the reason in the owner's alarms, when the folder is not usable.
    pub async fn open(shared: Arc<Shared>, id: CollaborationId) -> Option<Arc<Self>> {
        let dir = shared.dir.join("mirror").join(id.as_str());
        let origin = origin_of(&shared.hub, &LogName::Collaboration(id.clone()))
            .inspect_err(|error| tracing::error!(collaboration = %id, %error, "no such log"))
            .ok()?;
        let (own, hub_key) = (id.clone(), shared.hub_key);
        let opened = tokio::task::spawn_blocking(move || Mirror::open(&dir, origin, Some(own), hub_key)).await;
        let mirror = match opened {
            Ok(Ok(mirror)) => mirror,
            Ok(Err(error)) => {
                tracing::error!(collaboration = %id, %error, "the mirror cannot be used");
                return None;
            }
            Err(error) => {
                tracing::error!(collaboration = %id, %error, "the mirror could not be read");
                return None;
            }
        };
        let empty = State::new(mirror.state().origin().clone(), Some(id.clone()));
        let standing =
            Standing { acting: Arc::new(empty), fresh_at: shared.clock.now(), told: false, told_ahead: false };
        let copy = shared.copies.as_ref().map(|folder| folder.join(id.as_str()));
        let owner = OwnersCopy::new(copy, mirror.state().origin().clone(), shared.hub_key);
        let log = RemoteLog::new(Arc::clone(&shared.client), mirror);
        Some(Arc::new(Self {
            shared,
            id,
            log,
            owner,
            standing: Mutex::new(standing),
            busy: Mutex::default(),
            again: Notify::new(),
        }))
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until the log misbehaves; dropped with its jobs when the node stops.
    pub async fn run(self: Arc<Self>) {
        let mut jobs = JoinSet::new();
        let (mut seen, mut failures, mut soon) = (0, 0_u32, false);
        let mut cosigned: Option<(u64, Timestamp)> = None;
        loop {
            while jobs.try_join_next().is_some() {}
            let request = self.request(seen, soon, cosigned);
            let answer = tokio::select! {
                answer = self.shared.client.sync(&self.id, &request) => answer,
                () = self.again.notified() => {
                    soon = true;
                    continue;
                }
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(collaboration = %self.id, code = error.code(), %error, "sync failed");
                    self.complain_if_stale();
                    if request.cosignature.is_some() && !error.is_passing() && !error.is_unheard() {
                        // The hub does not know what we cosigned. Asked without it, it has to show what it does know.
                        cosigned = Some((request.size, self.shared.clock.now()));
                    }
                    tokio::time::sleep(pause(failures)).await;
                    continue;
                }
            };
            failures = 0;
            if request.cosignature.is_some() {
                cosigned = Some((request.size, self.shared.clock.now()));
            }
            let idle = answer.seen == seen && answer.records.is_empty();
            seen = answer.seen;
            match self.take(&request, &answer).await {
                Ok(()) => soon = self.offers(&answer.offers, &mut jobs),
                Err(SubmitError::Mirror(MirrorError::Alarm(alarm))) => {
                    self.raise(alarm.code(), &alarm.to_string(), true, Some(*alarm));
                    return;
                }
                Err(error) => {
                    tracing::warn!(collaboration = %self.id, %error, "the log could not be followed");
                    tokio::time::sleep(pause(3)).await;
                }
            }
            if idle {
                tokio::time::sleep(IDLE).await;
            }
        }
    }

    /// The next heartbeat. A cosignature goes along when there is more to cosign, or when the last one ages: not each time,
    /// or the nodes would keep waking each other.
    fn request(&self, seen: u64, soon: bool, cosigned: Option<(u64, Timestamp)>) -> SyncRequest {
        let settings = &self.shared.tools.settings;
        let now = self.shared.clock.now();
        let mirror = self.log.mirror();
        let size = mirror.verified();
        let age_ms = i64::try_from(settings.freshness_s).unwrap_or(i64::MAX).saturating_mul(1_000) / 3;
        let due = cosigned.is_none_or(|(at_size, at)| at_size != size || now >= at.plus_ms(age_ms));
        let due = due && !self.owner.is_ahead(size) && self.dated_ahead_ms(&mirror).is_none();
        let line = cosign(&mirror, &self.shared.tools.signer, &self.shared.node, now).filter(|_| due);
        let wait_s = if soon { settings.wait_s.min(SOON_S) } else { settings.wait_s };
        SyncRequest {
            node: self.shared.tools.signer.key.public(),
            size,
            cosignature: line.map(|(_, line)| line.to_string()),
            seen,
            wait_s,
        }
    }

    /// Takes an answer into the mirror, counts the witnesses and folds the acting state.
    async fn take(&self, request: &SyncRequest, answer: &SyncAnswer) -> Result<(), SubmitError> {
        let behind = {
            let mut mirror = self.log.mirror();
            mirror.extend(request.size, &answer.records, &answer.checkpoint, request.size)?;
            mirror.entries() < mirror.observe(&answer.checkpoint)?.checkpoint.size
        };
        if behind {
            self.log.catch_up().await?;
        }
        if self.owner.compare(
            &mut self.log.mirror(),
            self.shared.clock.now(),
            self.shared.tools.settings.freshness_s,
        )? {
            let text = "the hub withholds from this node what it showed to its owner: it neither works nor cosigns";
            self.raise("node.withheld", text, false, None);
        }
        self.compare_clocks();
        let settings = &self.shared.tools.settings;
        let now = self.shared.clock.now();
        let seen = {
            let mirror = self.log.mirror();
            let party = &self.shared.tools.signer.party;
            let (outside, freshness_s) = (&settings.witness, settings.freshness_s);
            Witnesses::count(&mirror, party, &answer.witnesses, outside, freshness_s, now).acting()
        };
        match seen {
            Some((size, time_s)) => {
                let said_at = Timestamp(i64::try_from(time_s).unwrap_or(i64::MAX).saturating_mul(1_000));
                self.advance(size, said_at.min(now))?;
            }
            None => self.complain_if_stale(),
        }
        Ok(())
    }

    /// Folds the acting state up to `size`, which witnesses saw at `said_at`.
    fn advance(&self, size: u64, said_at: Timestamp) -> Result<(), MirrorError> {
        let mut standing = self.standing();
        if size < standing.acting.size() {
            return Ok(());
        }
        let mirror = self.log.mirror();
        while standing.acting.size() < size {
            let from = standing.acting.size();
            let state = Arc::make_mut(&mut standing.acting);
            let records = mirror.read(from)?;
            if records.is_empty() {
                return Ok(());
            }
            let room = usize::try_from(size - from).unwrap_or(usize::MAX);
            for record in records.iter().take(room) {
                if let Err(error) = state.apply(record) {
                    // The mirror took it before, so this cannot be; whatever it is, nothing is done on it.
                    tracing::error!(%error, "the acting state refused what the mirror took");
                    return Ok(());
                }
            }
        }
        standing.fresh_at = said_at.max(standing.fresh_at);
        standing.told = false;
        Ok(())
    }

    fn is_fresh(&self) -> bool {
        let freshness_s = self.shared.tools.settings.freshness_s.saturating_add(SKEW_S);
        let freshness_ms = i64::try_from(freshness_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        self.shared.clock.now() <= self.standing().fresh_at.plus_ms(freshness_ms)
    }

    /// By how much the log is dated ahead of this machine's clock, where that is more than the owner allows.
    fn dated_ahead_ms(&self, mirror: &Mirror) -> Option<i64> {
        let skew_ms = self.shared.tools.settings.clock_skew_ms();
        dated_ahead_ms(mirror.state().last_arrival(), self.shared.clock.now(), skew_ms)
    }

    /// Tells the owner once when log and clock do not fit, and notes when they do again.
    fn compare_clocks(&self) {
        let ahead_ms = self.dated_ahead_ms(&self.log.mirror());
        let told = std::mem::replace(&mut self.standing().told_ahead, ahead_ms.is_some());
        match ahead_ms {
            Some(ahead_ms) if !told => {
                let text = format!(
                    "the log's newest entry is dated {} s ahead of this machine's clock: it neither works nor cosigns \
                     until they fit. Most often the clock here is wrong: set it right, for instance by NTP. If it is \
                     right, the hub dates entries ahead, so that deadlines pass early: tell the other members",
                    ahead_ms / 1_000
                );
                self.raise("node.log-ahead", &text, false, None);
            }
            None if told => tracing::info!(collaboration = %self.id, "the log's dates fit this machine's clock again"),
            _ => {}
        }
    }

    fn complain_if_stale(&self) {
        if self.is_fresh() || std::mem::replace(&mut self.standing().told, true) {
            return;
        }
        let text = "too few members saw the log freshly as this node does: it does not work until they do";
        self.raise("node.no-fresh-quorum", text, false, None);
    }

    fn raise(&self, code: &str, text: &str, halts: bool, evidence: Option<crate::client::mirror::Alarm>) {
        tracing::error!(collaboration = %self.id, code, text, "alarm");
        let at = self.shared.clock.now();
        let (code, text) = (code.to_owned(), text.to_owned());
        let event = Event { at, collaboration: self.id.clone(), code, text, halts, evidence };
        if let Err(error) = self.shared.alarms.raise(&event) {
            tracing::error!(%error, "the alarm could not be kept");
        }
    }

    /// Judges an offer by the states as they are now.
    fn judge(&self, offer: &Envelope, load: Option<f64>) -> Verdict {
        let acting = Arc::clone(&self.standing().acting);
        if acting.size() == 0 || !self.is_fresh() {
            return Verdict::Wait("too few witnesses");
        }
        let mirror = self.log.mirror();
        if mirror.alarm().is_some() {
            return Verdict::Wait("the log misbehaved");
        }
        if self.dated_ahead_ms(&mirror).is_some() {
            return Verdict::Wait("the log is dated ahead of this machine's clock");
        }
        if self.owner.is_ahead(mirror.verified()) {
            return Verdict::Wait("the hub has not shown this node all that its owner saw");
        }
        let signer = &self.shared.tools.signer;
        let facts = Facts {
            acting: &acting,
            latest: mirror.state(),
            hub_key: self.shared.hub_key,
            party: &signer.party,
            node: signer.key.public(),
            policy: &self.shared.tools.settings.policy,
            load,
            now: self.shared.clock.now(),
            skew_ms: self.shared.tools.settings.clock_skew_ms(),
        };
        checks::judge(&facts, &self.id, offer)
    }

    /// Refuses every run that this node had accepted: the owner stopped it.
    pub async fn farewell(&self) {
        let signer = &self.shared.tools.signer;
        let refusals: Vec<RunRefused> = {
            let mirror = self.log.mirror();
            let log_size = mirror.verified();
            let runs = checks::accepted(mirror.state(), &signer.party, signer.key.public());
            let refusal = |run: &allmende_core::state::runs::Run| RunRefused {
                run: run.id.clone(),
                code: RefusalCode::Stopped,
                clause: None,
                log_size,
            };
            runs.into_iter().map(refusal).collect()
        };
        for refusal in refusals {
            if let Err(error) = self.log.submit(signer, Body::from(refusal), None).await {
                tracing::warn!(collaboration = %self.id, %error, "the run could not be refused");
            }
        }
    }
}
