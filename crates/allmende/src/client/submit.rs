//! The client's end of one log: keeps its mirror current, and brings statements to a proven place in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, Origin, RunId};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::state::State;
use allmende_core::statement::{Body, Header, Scope, Signer as By, Statement, StatementError, row};
use allmende_core::time::Timestamp;

use super::error::ClientError;
use super::http::{HubClient, Kind, Signer};
use super::mirror::{Mirror, MirrorError};
use super::routes::LogName;
use crate::api::{Founding, Placed};

/// Entries asked for at once.
const PAGE: u64 = 1_000;
/// How often a statement is sealed anew because somebody with the same key was first.
const ATTEMPTS: u32 = 5;

/// Why a statement did not get its place.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The hub refused, or could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log misbehaves, or the mirror's folder failed.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The statement cannot be signed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// No agreement is in force, and the statement needs one.
    #[error("no agreement is in force")]
    NoAgreement,
    /// Several agreements are in force.
    #[error("several agreements are in force: say which one the statement is made under")]
    SeveralAgreements,
    /// The kind belongs in another log.
    #[error("{0} does not stand in this log")]
    WrongLog(&'static str),
    /// The log is empty: nobody founded it.
    #[error("the log {0} is not open yet")]
    NotOpen(Origin),
    /// The hub answered that it placed the statement, and its log shows something else.
    #[error("the hub said that the statement stands at {index}, and its log does not show it there")]
    NotPlaced {
        /// Where it should stand.
        index: u64,
    },
    /// The hub sends nothing new though its checkpoint says there is.
    #[error("the hub withholds entries from {0} on")]
    Withheld(u64),
}

impl SubmitError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Client(error) => error.code(),
            Self::Mirror(MirrorError::Alarm(alarm)) => alarm.code(),
            Self::Mirror(MirrorError::Store(_)) => "mirror.folder",
            Self::Statement(_) => "statement.malformed",
            Self::NoAgreement | Self::SeveralAgreements => "agreement.not-in-force",
            Self::WrongLog(_) => "statement.log",
            Self::NotOpen(_) => "ledger.not-open",
            Self::NotPlaced { .. } | Self::Withheld(_) => "mirror.withheld",
        }
    }

    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_passing())
    }
}

/// Which way a statement takes.
#[derive(Debug, Clone)]
pub enum Route<'a> {
    /// To a collaboration's log.
    Statement,
    /// To the hub's log, about the signer's keys.
    Key,
    /// To the hub's log, as the party's first.
    Register {
        /// The operator's invitation, where the hub asks for one.
        invitation: Option<&'a str>,
    },
    /// To a log that it opens.
    Found,
    /// With the last word on an upload.
    Seal {
        /// Which upload.
        upload: &'a str,
    },
}

/// One log of one hub.
pub struct RemoteLog {
    client: Arc<HubClient>,
    name: LogName,
    mirror: Mutex<Mirror>,
    /// One statement at a time: a chain has one end.
    submitting: tokio::sync::Mutex<()>,
}

impl RemoteLog {
    /// The log that `mirror` is a copy of.
    #[must_use]
    pub fn new(client: Arc<HubClient>, mirror: Mirror) -> Self {
        let name = match mirror.state().collaboration() {
            None => LogName::Hub,
            Some(id) => LogName::Collaboration(id.clone()),
        };
        Self { client, name, mirror: Mutex::new(mirror), submitting: tokio::sync::Mutex::default() }
    }

    /// A collaboration's log, or the hub's, mirrored in memory from nothing.
    ///
    /// # Errors
    /// [`ClientError::NoIdentity`] when no hub key is pinned.
    pub fn in_memory(client: Arc<HubClient>, hub: &Origin, name: &LogName) -> Result<Self, ClientError> {
        let hub_key = client.hub_key().ok_or(ClientError::NoIdentity)?;
        let origin = origin_of(hub, name)?;
        Ok(Self::new(client, Mirror::memory(origin, name.collaboration().cloned(), hub_key)))
    }

    /// The connection.
    #[must_use]
    pub const fn client(&self) -> &Arc<HubClient> {
        &self.client
    }

    /// Which log.
    #[must_use]
    pub const fn name(&self) -> &LogName {
        &self.name
    }

    /// The mirror, under its lock. Hold it for moments only, and never while waiting.
    pub fn mirror(&self) -> MutexGuard<'_, Mirror> {
        // A panic while it was held may have left it half-way; every use compares roots before it believes.
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the mirror up to the hub's newest checkpoint, and verifies all of it.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn catch_up(&self) -> Result<(), SubmitError> {
        let told = self.mirror().verified();
        let mut note = self.client.checkpoint(&self.name).await?;
        loop {
            let (before, size) = {
                let mut mirror = self.mirror();
                let from = mirror.entries();
                mirror.extend::<&str>(from, &[], &note, told)?;
                (mirror.entries(), mirror.observe(&note)?.checkpoint.size)
            };
            if before >= size {
                return Ok(());
            }
            let page = self.client.entries(&self.name, before, PAGE.min(size - before)).await?;
            let after = {
                let mut mirror = self.mirror();
                mirror.extend(page.from, &page.records, &note, told)?;
                mirror.entries()
            };
            if after <= before {
                return Err(SubmitError::Withheld(before));
            }
            if after >= size {
                return Ok(());
            }
            note = self.client.checkpoint(&self.name).await?;
        }
    }

    /// Signs `body` as the signer's next statement, sends it, and makes sure that it stands in the log. When another
    /// program with the same key was first, it is signed anew.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(
        &self,
        signer: &Signer,
        body: impl Into<Body>,
        agreement: Option<Digest>,
    ) -> Result<Placed, SubmitError> {
        let body = body.into();
        let scope = row(body.kind()).ok_or(SubmitError::WrongLog(body.kind()))?.scope;
        let route = match (&self.name, scope, &body) {
            (LogName::Hub, Scope::Keys, Body::PartyRegistered(_)) => Route::Register { invitation: None },
            (LogName::Hub, Scope::Keys, _) => Route::Key,
            (LogName::Collaboration(_), _, Body::CollaborationProposed(_)) => Route::Found,
            (LogName::Collaboration(_), Scope::Collaboration | Scope::Agreement, _) => Route::Statement,
            _ => return Err(SubmitError::WrongLog(body.kind())),
        };
        self.submit_by(route, signer, &body, agreement).await
    }

    /// As [`Self::submit`], by a given way.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit_by(
        &self,
        route: Route<'_>,
        signer: &Signer,
        body: &Body,
        agreement: Option<Digest>,
    ) -> Result<Placed, SubmitError> {
        let _one_at_a_time = self.submitting.lock().await;
        let founding = matches!(route, Route::Found);
        if !founding && self.mirror().entries() == 0 {
            self.catch_up().await?;
        }
        let mut attempt = 1;
        loop {
            let (envelope, digest) = {
                let mirror = self.mirror();
                seal_next(mirror.state(), signer, body, agreement, self.client.clock().now())?
            };
            match self.send(&route, body, envelope).await {
                Ok(placed) => return self.prove(placed, digest).await,
                Err(error) if !founding && attempt < ATTEMPTS && is_out_of_order(&error) => {
                    self.catch_up().await?;
                    // An attempt whose answer was lost may have been placed.
                    if let Some(placed) = self.standing(&digest) {
                        return Ok(placed);
                    }
                    attempt += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn send(&self, route: &Route<'_>, body: &Body, statement: Envelope) -> Result<Placed, ClientError> {
        let id = || self.name.collaboration().ok_or(ClientError::NoIdentity);
        match route {
            Route::Register { invitation } => self.client.register_party(statement, *invitation).await,
            Route::Key => self.client.submit_key(statement).await,
            Route::Found => self.client.found(&Founding { collaboration: id()?.clone(), statement }).await,
            Route::Statement => {
                let (kind, run) = kind_of(body);
                self.client.submit(id()?, kind, run, statement).await
            }
            Route::Seal { upload } => {
                let run = run_of(body).ok_or_else(|| ClientError::Name(body.kind().to_owned()))?;
                self.client.seal_upload(id()?, run, upload, statement).await
            }
        }
    }

    /// Makes sure that the hub did what it says: the mirror shows the statement where it was placed.
    async fn prove(&self, placed: Placed, digest: Digest) -> Result<Placed, SubmitError> {
        let index = placed.index;
        self.mirror().observe(&placed.checkpoint)?;
        if self.mirror().payload(index).is_none() {
            self.catch_up().await?;
        }
        let mirror = self.mirror();
        if placed.digest == digest && mirror.payload(index) == Some(digest) && index < mirror.verified() {
            Ok(placed)
        } else {
            Err(SubmitError::NotPlaced { index })
        }
    }

    /// Where the statement of this payload stands in the mirror, if it does.
    #[must_use]
    pub fn standing(&self, digest: &Digest) -> Option<Placed> {
        let mirror = self.mirror();
        let index = mirror.find(digest).filter(|&index| index < mirror.verified())?;
        let arrived_at = mirror.read(index).ok()?.first()?.arrived_at;
        let checkpoint = mirror.checkpoint()?.to_string();
        Some(Placed { index, digest: *digest, arrived_at, checkpoint })
    }
}

/// Origin of a log of the hub `hub`.
///
/// # Errors
/// [`ClientError::Name`] when the hub's name is too long for one.
pub fn origin_of(hub: &Origin, log: &LogName) -> Result<Origin, ClientError> {
    format!("{hub}/{}", log.as_str()).parse().map_err(|_| ClientError::Name(hub.to_string()))
}

/// Whether the statement only came at the wrong place of its signer's chain.
fn is_out_of_order(error: &ClientError) -> bool {
    matches!(error.code(), "statement.sequence" | "statement.previous" | "conflict")
}

/// The run that a statement is about.
#[must_use]
pub const fn run_of(body: &Body) -> Option<&RunId> {
    match body {
        Body::RunAccepted(b) => Some(&b.run),
        Body::RunRefused(b) => Some(&b.run),
        Body::RunProposed(b) => Some(&b.run),
        Body::UpdateSubmitted(b) => Some(&b.run),
        Body::EvaluationReported(b) => Some(&b.run),
        Body::ModelReleased(b) => Some(&b.run),
        Body::PayoutPosted(b) => Some(&b.run),
        _ => None,
    }
}

const fn kind_of(body: &Body) -> (Kind, Option<&RunId>) {
    match body {
        Body::EvaluationReported(_) => (Kind::Evaluation, run_of(body)),
        _ => (Kind::Statement, run_of(body)),
    }
}

/// The agreement that a statement of this kind is made under, where it needs one: the one given, that of its run's plan,
/// or the only one in force.
fn agreement_for(
    state: &State,
    body: &Body,
    given: Option<Digest>,
    now: Timestamp,
) -> Result<Option<Digest>, SubmitError> {
    let needed = row(body.kind()).is_some_and(|row| row.scope == Scope::Agreement);
    if !needed || given.is_some() {
        return Ok(given.filter(|_| needed));
    }
    if let Body::RunProposed(proposed) = body {
        return Ok(Some(proposed.plan.agreement));
    }
    if let Some(run) = run_of(body).and_then(|run| state.run(run).ok()) {
        return Ok(Some(run.plan.agreement));
    }
    let mut current = state.terms_in_force(now);
    match (current.next(), current.next()) {
        (None, _) => Err(SubmitError::NoAgreement),
        (Some((digest, _)), None) => Ok(Some(*digest)),
        _ => Err(SubmitError::SeveralAgreements),
    }
}

/// Signs `body` as the signer's next statement in the log of `state`; gives its payload's digest too.
///
/// # Errors
/// [`SubmitError`] when an agreement is needed and none is in force, or the body is no strict JSON.
pub fn seal_next(
    state: &State,
    signer: &Signer,
    body: &Body,
    agreement: Option<Digest>,
    now: Timestamp,
) -> Result<(Envelope, Digest), SubmitError> {
    let keys = row(body.kind()).is_some_and(|row| row.scope == Scope::Keys);
    // A log that is being opened has no chain yet, and the registry's own origin is where statements about keys belong.
    let origin = if keys { state.registry().unwrap_or(state.origin()) } else { state.origin() };
    let collaboration: Option<CollaborationId> = if keys { None } else { state.collaboration().cloned() };
    let chain = state.chain(&signer.key.public(), keys);
    let header = Header {
        origin: origin.clone(),
        collaboration,
        agreement: agreement_for(state, body, agreement, now)?,
        by: By { party: signer.party.clone(), class: signer.class },
        seq: chain.next,
        previous: chain.last,
        claimed_at: now,
    };
    let envelope = Statement { header, body: body.clone() }.seal(&signer.key)?;
    let digest = Digest::of(&envelope.payload_bytes().map_err(StatementError::from)?);
    Ok((envelope, digest))
}
