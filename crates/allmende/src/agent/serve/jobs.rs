//! Offers become jobs: judged, claimed, carried out, and given up when what they rest on is gone.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use allmende_core::ledger::envelope::Envelope;
use allmende_core::run::offer::Work;
use allmende_core::statement::{RefusalCode, RunRefused};
use tokio::task::JoinSet;

use super::Service;
use crate::agent::checks::{Job, Verdict};
use crate::agent::control::Question;
use crate::agent::work::{self, WorkError};
use crate::client::error::ClientError;
use crate::client::submit::SubmitError;

/// Most offers in one answer that are looked at.
const MAX_OFFERS: usize = 4_096;
/// How often a node that is sending looks whether it still may.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How soon a failed piece of work may be tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

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
    /// Turns offers into jobs; says whether something waits.
    pub(super) fn offers(self: &Arc<Self>, offers: &[Envelope], jobs: &mut JoinSet<()>) -> bool {
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
                        self.raise("node.forged-offer", &reason, false, None);
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
    fn failed(self: &Arc<Self>, error: &WorkError) {
        match error {
            WorkError::Submit(SubmitError::Client(ClientError::OtherBytes { digest, .. })) => {
                if let Some(mut claim) = self.claim(format!("other bytes: {digest}")) {
                    let text = format!("the hub serves other bytes as {digest}: they are not used");
                    self.raise("node.other-bytes", &text, false, None);
                    claim.for_good = true;
                }
            }
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
            Verdict::Wait(reason) | Verdict::Ignore(reason) => Err(WorkError::Void(reason)),
            Verdict::Forged(_) => Err(WorkError::Void("the log says otherwise by now")),
            Verdict::Refuse(_) => Err(WorkError::Void("it is refused by now")),
        }
    }

    /// Sends something, which may take many attempts, and breaks off as soon as this node may no longer act on the offer:
    /// a hub that keeps it waiting must not get today what was allowed yesterday.
    async fn while_sound<T>(
        &self,
        offer: &Envelope,
        sending: impl Future<Output = Result<T, WorkError>>,
    ) -> Result<T, WorkError> {
        tokio::pin!(sending);
        loop {
            tokio::select! {
                sent = &mut sending => return sent,
                () = tokio::time::sleep(LOOK_AGAIN) => match self.judge(offer, None) {
                    // Done already: the answer to what was sent is under way.
                    Verdict::Do(_) | Verdict::Ignore(_) => {}
                    Verdict::Wait(reason) => return Err(WorkError::Void(reason)),
                    Verdict::Refuse(_) | Verdict::Forged(_) => return Err(WorkError::Void("it is refused by now")),
                },
            }
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
                    None => self.while_sound(offer, work::accept(tools, log, run, log_size)).await,
                    Some(code) => {
                        let body = RunRefused { run: run.id.clone(), code, clause: None, log_size };
                        log.submit(&tools.signer, body, None).await?;
                        Ok(())
                    }
                }
            }
            Work::Train { coalition, round, base } => {
                let made = work::train(tools, log, Arc::clone(&acting), run, job, (coalition, round, base)).await?;
                still()?;
                self.while_sound(offer, made.send(tools, log)).await
            }
            Work::Evaluate { coalition, round, model } => {
                let body = work::count(tools, log, Arc::clone(&acting), run, job, (coalition, round, model)).await?;
                still()?;
                self.while_sound(offer, work::report(tools, log, body, run.plan.agreement)).await
            }
        }
    }
}

/// The machine's load over one minute, where the system tells it.
fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}
