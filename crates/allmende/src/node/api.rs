//! `POST …/sync`: one call in which a node mirrors the log, cosigns it, hears other witnesses and gets its offers.

use std::time::Duration;

use allmende_core::id::{CollaborationId, Origin, PartyId};
use allmende_core::ledger::checkpoint::{Checkpoint, NoteSignature};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::run::engine::{Task, due_at, tasks};
use allmende_core::run::offer::{Offer, Work};
use allmende_core::signature::PublicKey;
use allmende_core::state::State as LogState;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{SyncAnswer, SyncRequest, Witnessed};
use crate::app::App;
use crate::auth::{NodeCaller, RequireScope};
use crate::collaboration::readable;
use crate::error::{ApiError, Code, Problem};
use crate::extract::{Json, Path};
use crate::ledger::store::{self, Cosignature};
use crate::ledger::{Heard, Log, read};
use crate::party;
use crate::party::api::checkpoint;
use crate::transaction;

/// How long an offer stands, in milliseconds. A node that needs longer asks again.
const OFFER_MS: i64 = 120_000;
/// Most offers in one answer.
const MAX_OFFERS: usize = 256;

/// Routes of nodes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(sync))
}

/// Mirror the log, cosign it, hear other witnesses, fetch work. Answers when there is news, or after `wait_s`.
#[utoipa::path(
    post, path = "/v1/collaborations/{collaboration}/sync", tag = "nodes", security(("token" = [])),
    params(("collaboration" = String, Path, description = "Its name")), request_body = SyncRequest,
    responses((status = 200, body = SyncAnswer), (status = "default", body = Problem))
)]
async fn sync(
    State(app): State<App>,
    RequireScope(caller): NodeCaller,
    Path(collaboration): Path<CollaborationId>,
    Json(request): Json<SyncRequest>,
) -> Result<Json<SyncAnswer>, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let mut grown = log.watch();
    let mut witnessed = app.witnessed.watch(log.name());
    let origin = {
        let state = log.state().await?;
        let party = state.parties().get(&caller.party);
        let label = party.and_then(|p| p.nodes.get(&request.node)).ok_or_else(|| {
            ApiError::new(Code::Forbidden, format!("{} is no node key of {} now", request.node, caller.party))
        })?;
        witness_name(&caller.party, label.as_str())?
    };
    match log.heard(&caller.party, &request.node, request.size).await? {
        Heard::Open => {}
        Heard::Opened => party::resume_registry(&app).await?,
        // A checkpoint of fewer entries than the node has would look as if the log had been rolled back.
        Heard::Held(_) if request.size > log.state().await?.size() => log.require_open().await?,
        Heard::Held(_) => {}
    }
    if let Some(line) = &request.cosignature {
        cosign(&app, &log, &request, &origin, line).await?;
    }
    let wait = Duration::from_secs(u64::from(request.wait_s).min(app.config.long_poll_timeout_s));
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        grown.mark_unchanged();
        witnessed.mark_unchanged();
        let answer = answer(&app, &log, &caller.party, &request).await?;
        let news = !answer.records.is_empty() || answer.seen != request.seen;
        if news || tokio::time::Instant::now() >= deadline || app.closing.is_cancelled() {
            return Ok(Json(answer));
        }
        tokio::select! {
            _ = grown.changed() => {}
            _ = witnessed.changed() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = app.closing.cancelled() => {}
        }
    }
}

/// The name under which a node cosigns: `party/node`.
///
/// # Errors
/// Never for valid labels; they make a valid name.
pub fn witness_name(party: &PartyId, node: &str) -> Result<Origin, ApiError> {
    format!("{party}/{node}").parse().map_err(ApiError::internal)
}

async fn answer(app: &App, log: &Log, party: &PartyId, request: &SyncRequest) -> Result<SyncAnswer, ApiError> {
    let held = log.held().await?.is_some();
    let (note, size, offers) = {
        let state = log.state().await?;
        // What came of the work could not be placed while the log is held.
        let offers = if held { Vec::new() } else { offers(app, &state, party, &request.node)? };
        (checkpoint(&state)?, state.size(), offers)
    };
    let records = if request.size < size {
        let page = app.config.max_page_items.min(size - request.size);
        read::records(&app.db, log.name(), request.size, page).await?
    } else {
        Vec::new()
    };
    let witnesses = witnesses(app, log).await?;
    // What a node has not seen yet: more cosigned entries, or other work.
    let mut seen = 0_u64;
    for witness in &witnesses {
        seen = seen.wrapping_mul(31).wrapping_add(witness.size);
    }
    seen = seen.wrapping_mul(31).wrapping_add(offers.len() as u64) & ((1 << 53) - 1);
    Ok(SyncAnswer { seen, checkpoint: note, records, witnesses, offers })
}

async fn witnesses(app: &App, log: &Log) -> Result<Vec<Witnessed>, ApiError> {
    let cosignatures = store::cosignatures(&mut *app.db.read().await?, log.name()).await?;
    let state = log.state().await?;
    let witnessed = |c: Cosignature| {
        let key: PublicKey = c.key.parse().ok()?;
        let member = state.parties().values().find(|p| p.nodes.contains_key(&key)).map(|p| p.id.clone());
        let known = member.is_some() || app.config.witnesses.0.iter().any(|w| w.key.key == key);
        known.then_some(Witnessed { party: member, key, size: c.size, line: c.line })
    };
    Ok(cosignatures.into_iter().filter_map(witnessed).collect())
}

async fn cosign(app: &App, log: &Log, request: &SyncRequest, name: &Origin, line: &str) -> Result<(), ApiError> {
    let refuse = |detail: &str| ApiError::new(Code::InvalidStatement, format!("cosignature: {detail}"));
    let signature: NoteSignature = line.parse().map_err(|_| refuse("not a signature line of a note"))?;
    let (origin, size) = {
        let state = log.state().await?;
        (state.origin().clone(), state.size())
    };
    if request.size == 0 || request.size > size {
        return Err(refuse("no checkpoint of this size exists"));
    }
    let root = read::root_at(&app.db, log.name(), request.size).await?;
    let note = Checkpoint { origin, size: request.size, root };
    let timestamp_s = signature
        .cosigned_at_s(&note, name, &request.node)
        .ok_or_else(|| refuse("it does not fit this log's checkpoint of that size"))?;
    let cosignature =
        Cosignature { key: request.node.to_string(), size: request.size, timestamp_s, line: line.to_owned() };
    let kept: Result<bool, crate::ledger::LedgerError> =
        transaction!(app.db, tx => { store::put_cosignature(tx, log.name(), &cosignature).await });
    if kept? {
        app.witnessed.notify(log.name());
    }
    Ok(())
}

fn offers(app: &App, state: &LogState, party: &PartyId, node: &PublicKey) -> Result<Vec<Envelope>, ApiError> {
    let Some(collaboration) = state.collaboration() else { return Ok(Vec::new()) };
    let now = app.clock.now();
    let mut offers = Vec::new();
    for run in state.runs().values().filter(|run| !run.status.is_over()) {
        for task in tasks(run, party, node).into_iter().take(MAX_OFFERS - offers.len()) {
            let offer = Offer {
                origin: state.origin().clone(),
                collaboration: collaboration.clone(),
                run: run.id.clone(),
                plan: run.plan_digest,
                agreement: run.plan.agreement,
                node: *node,
                log_size: due_at(run, &task),
                work: work(&task),
                issued_at: now,
                expires_at: now.plus_ms(OFFER_MS),
            };
            offers.push(offer.seal(&app.hub_key).map_err(ApiError::internal)?);
        }
    }
    Ok(offers)
}

fn work(task: &Task) -> Work {
    match *task {
        Task::Answer => Work::Answer {},
        Task::Train { coalition, round, base } => Work::Train { coalition, round, base },
        Task::Evaluate { coalition, round, model } => Work::Evaluate { coalition, round, model },
    }
}
