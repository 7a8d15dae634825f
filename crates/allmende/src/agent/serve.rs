//! One node's service to one collaboration: the loop that keeps the mirror, cosigns, and turns offers into work.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allmende_core::id::{CollaborationId, Label, Origin};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::run::offer::Work;
use allmende_core::signature::PublicKey;
use allmende_core::state::State;
use allmende_core::statement::{Body, RefusalCode, RunRefused};
use allmende_core::time::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::alarms::{Alarms, Event};
use super::checks::{self, Facts, Job, Verdict};
use super::control::{Control, Question};
use super::witness::{Witnesses, cosign};
use super::work::{self, Tools, WorkError};
use crate::api::{SyncAnswer, SyncRequest};
use crate::client::http::{HubClient, pause};
use crate::client::mirror::{Mirror, MirrorError};
use crate::client::routes::LogName;
use crate::client::submit::{RemoteLog, SubmitError, origin_of};
use crate::clock::Clock;

/// Most offers in one answer that are looked at.
const MAX_OFFERS: usize = 4_096;
/// Pause after an answer that came at once and brought nothing.
const IDLE: Duration = Duration::from_millis(500);
/// How soon to ask again while something waits for the owner or the witnesses, in seconds.
const SOON_S: u32 = 2;
/// How soon a failed piece of work may be tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

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
    /// When they last did.
    fresh_at: Timestamp,
    /// Whether the owner was told that they do not.
    told: bool,
}

/// The service to one collaboration.
pub struct Service {
    shared: Arc<Shared>,
    id: CollaborationId,
    log: RemoteLog,
    standing: Mutex<Standing>,
    /// Work under way, or to be left alone.
    busy: Mutex<BTreeSet<String>>,
    /// Some work may be tried again.
    again: Notify,
}

/// Keeps a piece of work from being begun twice.
struct Claim {
    service: Arc<Service>,
    key: String,
    /// The same work would fail the same way: it is never begun again.
    for_good: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.for_good {
            return;
        }
        self.service.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
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
        let standing = Standing { acting: Arc::new(empty), fresh_at: shared.clock.now(), told: false };
        let log = RemoteLog::new(Arc::clone(&shared.client), mirror);
        Some(Arc::new(Self {
            shared,
            id,
            log,
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
        let settings = &self.shared.tools.settings;
        let now = self.shared.clock.now();
        let size = {
            let mirror = self.log.mirror();
            let party = &self.shared.tools.signer.party;
            let (outside, freshness_s) = (&settings.witness, settings.freshness_s);
            Witnesses::count(&mirror, party, &answer.witnesses, outside, freshness_s, now).acting_size()
        };
        match size {
            Some(size) => self.advance(size, now)?,
            None => self.complain_if_stale(),
        }
        Ok(())
    }

    /// Folds the acting state up to `size`.
    fn advance(&self, size: u64, now: Timestamp) -> Result<(), MirrorError> {
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
        standing.fresh_at = now;
        standing.told = false;
        Ok(())
    }

    fn is_fresh(&self) -> bool {
        let freshness_ms =
            i64::try_from(self.shared.tools.settings.freshness_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        self.shared.clock.now() <= self.standing().fresh_at.plus_ms(freshness_ms)
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
        };
        checks::judge(&facts, &self.id, offer)
    }

    /// Turns offers into jobs; says whether something waits.
    fn offers(self: &Arc<Self>, offers: &[Envelope], jobs: &mut JoinSet<()>) -> bool {
        let mut waiting = false;
        let load = load_average();
        for offer in offers.iter().take(MAX_OFFERS) {
            match self.judge(offer, load) {
                Verdict::Do(job) => waiting |= !self.begin(*job, offer, jobs),
                Verdict::Refuse(refusal) => self.refuse(refusal, jobs),
                Verdict::Wait(reason) => {
                    tracing::debug!(collaboration = %self.id, reason, "offer waits");
                    waiting = true;
                }
                Verdict::Ignore(reason) => tracing::debug!(collaboration = %self.id, reason, "offer passed over"),
                Verdict::Forged(reason) => {
                    // Once is enough: a lying hub can repeat itself for ever.
                    if let Some(mut claim) = self.claim(format!("forged: {reason}")) {
                        self.raise("node.forged-offer", reason, false, None);
                        claim.for_good = true;
                    }
                }
            }
        }
        waiting
    }

    fn claim(self: &Arc<Self>, key: String) -> Option<Claim> {
        let fresh = self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        fresh.then(|| Claim { service: Arc::clone(self), key, for_good: false })
    }

    fn refuse(self: &Arc<Self>, refusal: RunRefused, jobs: &mut JoinSet<()>) {
        let Some(claim) = self.claim(format!("{} refuse", refusal.run)) else { return };
        let service = Arc::clone(self);
        jobs.spawn(async move {
            tracing::warn!(collaboration = %service.id, run = %refusal.run, code = %refusal.code, "run refused");
            if let Err(error) = service.log.submit(&service.shared.tools.signer, refusal, None).await {
                service.failed(&error.into());
                tokio::time::sleep(RETRY_AFTER).await;
                drop(claim);
                service.again.notify_one();
            }
        });
    }

    /// Begins a job, unless it is under way or its owner has still to answer: then false.
    fn begin(self: &Arc<Self>, job: Job, offer: &Envelope, jobs: &mut JoinSet<()>) -> bool {
        if matches!(job.offer.work, Work::Answer {}) && self.shared.tools.settings.policy.ask_first {
            match self.owner_says(&job) {
                Some(true) => {}
                Some(false) => {
                    let log_size = self.standing().acting.size();
                    let (run, code) = (job.offer.run.clone(), RefusalCode::Declined);
                    self.refuse(RunRefused { run, code, clause: None, log_size }, jobs);
                    return true;
                }
                None => return false,
            }
        }
        let Some(mut claim) = self.claim(format!("{} {:?}", job.offer.run, job.offer.work)) else { return true };
        let (service, offer) = (Arc::clone(self), offer.clone());
        jobs.spawn(async move {
            let Ok(_permit) = service.shared.permits.acquire().await else { return };
            if let Err(error) = service.work(&job, &offer).await {
                service.failed(&error);
                claim.for_good = error.is_final();
                tokio::time::sleep(RETRY_AFTER).await;
                drop(claim);
                service.again.notify_one();
            }
        });
        true
    }

    fn owner_says(&self, job: &Job) -> Option<bool> {
        let control = &self.shared.control;
        let reply = control.reply(&self.id, &job.offer.run, &job.offer.plan);
        if reply.is_none() {
            let acting = Arc::clone(&self.standing().acting);
            let run = acting.run(&job.offer.run).ok()?;
            let question = Question {
                collaboration: self.id.clone(),
                run: run.id.clone(),
                plan: run.plan_digest,
                proposed_by: run.proposed_by.clone(),
                purpose: run.plan.purpose,
                rounds: run.plan.rounds,
            };
            if let Err(error) = control.ask(&question) {
                tracing::error!(%error, "the owner could not be asked");
            }
        }
        reply
    }

    /// Said here, and nowhere else: an error text can carry what must not leave.
    fn failed(&self, error: &WorkError) {
        match error {
            WorkError::Cancelled | WorkError::Void(_) => tracing::debug!(collaboration = %self.id, %error, "given up"),
            _ => tracing::warn!(collaboration = %self.id, %error, "work failed"),
        }
    }

    /// Whether the offer still holds, asked again just before something leaves: minutes may have passed.
    fn still(&self, offer: &Envelope) -> Result<(), WorkError> {
        if self.shared.tools.cancel.is_cancelled() {
            return Err(WorkError::Cancelled);
        }
        // The load is our own by now.
        match self.judge(offer, None) {
            Verdict::Do(_) => Ok(()),
            Verdict::Wait(reason) | Verdict::Ignore(reason) | Verdict::Forged(reason) => Err(WorkError::Void(reason)),
            Verdict::Refuse(_) => Err(WorkError::Void("it is refused by now")),
        }
    }

    async fn work(&self, job: &Job, offer: &Envelope) -> Result<(), WorkError> {
        self.still(offer)?;
        let (tools, log) = (&self.shared.tools, &self.log);
        let acting = Arc::clone(&self.standing().acting);
        let run = acting.run(&job.offer.run).map_err(|_| WorkError::Void("no such run"))?;
        let still = || self.still(offer);
        match job.offer.work {
            Work::Answer {} => {
                let refused = work::examine(tools, Arc::clone(&acting), run, job).await?;
                still()?;
                let log_size = acting.size();
                match refused {
                    None => work::accept(tools, log, run, log_size).await,
                    Some(code) => {
                        let body = RunRefused { run: run.id.clone(), code, clause: None, log_size };
                        log.submit(&tools.signer, body, None).await?;
                        Ok(())
                    }
                }
            }
            Work::Train { coalition, round, base } => {
                work::train(tools, log, Arc::clone(&acting), run, job, (coalition, round, base), still).await
            }
            Work::Evaluate { coalition, round, model } => {
                work::report(tools, log, Arc::clone(&acting), run, job, (coalition, round, model), still).await
            }
        }
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

/// The machine's load over one minute, where the system tells it.
fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}
