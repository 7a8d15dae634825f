//! Mirrors: added by whoever may create repositories, and the task that keeps them as their sources stand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;
use tokio_util::io::{InspectReader, StreamReader};

use super::apply::{Opened, apply};
use super::export::{MAX_HAVE, Wanted, listed};
use super::import::{blank, fits, noted};
use super::store::{self, Mirror};
use super::view::MirrorWanted;
use super::{MirrorError, apply::Applied};
use crate::account::{Principal, new_id};
use crate::app::App;
use crate::error::Problem;
use crate::outbound;
use crate::repo::ops::{self, Seen};
use crate::repo::store::NewRepo;
use crate::repo::{Kind, Repo, RepoError, Right, Settings};
use crate::secret::{self, Purpose};
use crate::transaction;

/// Shortest time between two looks, in seconds.
pub const MIN_EVERY_S: u64 = 60;
/// Longest time between two looks, in seconds.
const MAX_EVERY_S: u64 = 366 * 86_400;
/// Longest token.
const MAX_TOKEN_BYTES: usize = 1_024;
/// Most mirrors that one process is at.
const AT_ONCE: i64 = 2;
/// How often it is looked whether one is due.
const ROUND: Duration = Duration::from_secs(1);
/// How long a mirror belongs to the process that is at it, unless it says so again.
const LEASE_MS: i64 = 20_000;
/// How often it says so.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// Longest wait for the source to begin its answer: it packs first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest wait for the next bytes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// First pause after a failure, in milliseconds; doubled each time.
const PAUSE_MS: i64 = 30_000;
/// Large files, and xorbs, that the source is told of: its settings bound the question.
const MAX_TOLD: i64 = 5_000;
/// Longest refusal that is read of a source.
const MAX_PROBLEM_BYTES: usize = 16 << 10;

fn bad<T>(text: impl Into<String>) -> Result<T, MirrorError> {
    Err(MirrorError::Bad(text.into()))
}

/// Adds a mirror, or changes what was said of one. It is looked at soon.
///
/// # Errors
/// [`MirrorError::Taken`] where another repository stands; [`MirrorError::Outbound`] for an address that may not be reached.
pub async fn add(
    app: &App,
    principal: &Principal,
    kind: Kind,
    space: &str,
    name: &str,
    wanted: &MirrorWanted,
) -> Result<(Repo, Mirror), MirrorError> {
    if !kind.has_history() {
        return bad("buckets have no history to follow");
    }
    outbound::check(&wanted.url, &app.config.outbound_networks)?;
    let url = wanted.url.trim_end_matches('/').to_owned();
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let named = wanted.source.split_once('/').is_some_and(|(space, name)| part(space) && part(name));
    if !named || wanted.source.len() > 200 || wanted.source.split('/').any(|part| part.starts_with('.')) {
        return bad("the source is OWNER/NAME");
    }
    if wanted.every_s > MAX_EVERY_S || (1..MIN_EVERY_S).contains(&wanted.every_s) {
        return bad(format!("a mirror looks every {MIN_EVERY_S} s or less often, or with 0 when it is asked alone"));
    }
    if wanted.token.as_ref().is_some_and(|t| t.len() > MAX_TOKEN_BYTES || !t.bytes().all(|c| c.is_ascii_graphic())) {
        return bad("the token is none of another hub");
    }
    let signer = wanted.signer.as_ref().map(|key| key.parse()).transpose();
    let signer = signer.or_else(|e: allmende_core::signature::InvalidSignature| bad(e.to_string()))?;
    let tls_pin = wanted.tls_pin.as_ref().map(|pin| pin.parse()).transpose();
    let tls_pin = tls_pin.or_else(|e: allmende_core::digest::InvalidDigest| bad(e.to_string()))?;
    let seal = |repo: &str| match &wanted.token {
        None => Ok(None),
        Some(token) => secret::close(&app.hub_key, Purpose::Mirror, repo, token).map(Some),
    };
    let internal = |e: secret::SecretError| MirrorError::Internal(e.to_string());
    let now = app.clock.now();
    match ops::see(app, Some(principal), kind, space, name).await {
        Ok(seen) => {
            seen.require(Right::Admin)?;
            let mirror = store::of(&mut *app.db.read().await?, &seen.repo.id).await?;
            let taken = MirrorError::Taken("a repository stands there that is no mirror: choose another name");
            let mut mirror = mirror.filter(|mirror| !mirror.url.is_empty()).ok_or(taken)?;
            if mirror.url != url || mirror.source != wanted.source {
                // The token was given for another place.
                if wanted.token.is_none()
                    && !store::token(&mut *app.db.read().await?, &app.hub_key, &mirror.repo).await?.is_empty()
                {
                    return bad("with another source give its token as well, or an empty one");
                }
                (mirror.source_id, mirror.signer, mirror.made_at) = (String::new(), None, Timestamp(0));
            }
            (mirror.url, mirror.source, mirror.every_s) = (url, wanted.source.clone(), wanted.every_s);
            mirror.signer = signer.or(mirror.signer);
            mirror.tls_pin = tls_pin;
            (mirror.next_at, mirror.failures) = (Some(now), 0);
            let token = seal(&mirror.repo).map_err(internal)?;
            let put: Result<(), MirrorError> =
                transaction!(app.db, tx => { Ok(store::put(tx, &mirror, token.as_deref()).await?) });
            put?;
            Ok((seen.repo, mirror))
        }
        Err(RepoError::NotFound) => {
            let owner = ops::owner(app, principal, Some(space), name).await?;
            let id = new_id()?;
            let mut mirror = blank(&id);
            (mirror.url, mirror.source, mirror.every_s) = (url, wanted.source.clone(), wanted.every_s);
            (mirror.signer, mirror.next_at, mirror.tls_pin) = (signer, Some(now), tls_pin);
            let token = seal(&id).map_err(internal)?.unwrap_or_default();
            let settings = Settings { mirror: true, pickles_allowed: wanted.pickles_allowed, ..Settings::default() };
            let name = name.parse().or_else(|_| bad(format!("Invalid repository name: {name}")))?;
            let creator = principal.account.id.clone();
            let new = NewRepo { kind, owner, name, creator, private: true, collaboration: None, settings };
            let git = app.git.repo(&id);
            git.create().await?;
            let made: Result<Repo, MirrorError> = transaction!(app.db, tx => {
                let repo = ops::begin(tx, &id, &new, None, now).await?;
                store::put(tx, &mirror, Some(&token)).await?;
                Ok(repo)
            });
            if made.is_err() {
                git.remove().await?;
            }
            Ok((made?, mirror))
        }
        Err(error) => Err(error.into()),
    }
}

/// Lets a mirror stand on its own: it follows no more, and may be written to.
///
/// # Errors
/// [`MirrorError`].
pub async fn remove(app: &App, seen: &Seen) -> Result<(), MirrorError> {
    seen.require(Right::Admin)?;
    let mut repo = seen.repo.clone();
    repo.settings.mirror = false;
    transaction!(app.db, tx => {
        store::delete(tx, &repo.id).await?;
        Ok::<_, MirrorError>(crate::repo::store::configure(tx, &repo).await?)
    })
}

/// Asks for a look now.
///
/// # Errors
/// [`MirrorError::Bad`] where bundles are brought.
pub async fn ask(app: &App, seen: &Seen, mirror: &Mirror) -> Result<(), MirrorError> {
    seen.require(Right::Admin)?;
    if mirror.url.is_empty() {
        return bad("nothing is fetched: bundles are brought to this repository ('allmende repository import')");
    }
    let now = app.clock.now();
    transaction!(app.db, tx => { Ok(store::ask(tx, &mirror.repo, now).await?) })
}

/// Keeps all mirrors until the hub stops.
pub async fn keep(app: App) {
    let mut failing = false;
    while !app.closing.is_cancelled() {
        let done = round(&app).await;
        if let Err(error) = &done
            && !failing
        {
            tracing::warn!(%error, "mirrors wait until this passes");
        }
        failing = done.is_err();
        if matches!(done, Ok(1..)) {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = app.closing.cancelled() => {}
        }
    }
}

/// Looks at what is due; gives how many were.
///
/// # Errors
/// [`MirrorError`] of the database alone: what a source does wrong is noted of its mirror.
pub async fn round(app: &App) -> Result<usize, MirrorError> {
    let due = store::due(&mut *app.db.read().await?, app.clock.now(), AT_ONCE).await?;
    let most = due.len().max(1);
    let mut looks = futures::stream::iter(due.into_iter().map(|mirror| look(app, mirror))).buffer_unordered(most);
    let mut count = 0;
    while let Some(looked) = looks.next().await {
        count += usize::from(looked?);
    }
    Ok(count)
}

async fn look(app: &App, mirror: Mirror) -> Result<bool, MirrorError> {
    let mirror = &mirror;
    let now = app.clock.now();
    let claimed: Result<bool, MirrorError> = transaction!(app.db, tx => {
        Ok(store::claim(tx, &mirror.repo, now, now.plus_ms(LEASE_MS)).await?)
    });
    if !claimed? {
        return Ok(false);
    }
    let fetched = Arc::new(AtomicU64::new(0));
    let outcome = tokio::select! {
        outcome = fetch(app, mirror, Arc::clone(&fetched)) => Some(outcome),
        lost = heartbeat(app, &mirror.repo, &fetched) => return lost.map(|()| true),
        () = app.closing.cancelled() => None,
    };
    note(app, mirror, outcome, fetched.load(Ordering::Relaxed)).await?;
    Ok(true)
}

/// Says again and again whose the mirror is; ends when it is gone.
async fn heartbeat(app: &App, repo: &str, fetched: &AtomicU64) -> Result<(), MirrorError> {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let (until, bytes) = (app.clock.now().plus_ms(LEASE_MS), fetched.load(Ordering::Relaxed));
        let there: Result<bool, MirrorError> =
            transaction!(app.db, tx => { Ok(store::progress(tx, repo, until, bytes).await?) });
        if !there? {
            return Ok(());
        }
    }
}

/// What came: the mirror as it is to be noted, and what changed, if anything did.
type Fetched = (Mirror, Option<Applied>);

async fn note(
    app: &App,
    before: &Mirror,
    outcome: Option<Result<Fetched, MirrorError>>,
    fetched: u64,
) -> Result<(), MirrorError> {
    let now = app.clock.now();
    transaction!(app.db, tx => {
        // Somebody may have said something else of it meanwhile, or removed it.
        let Some(mut mirror) = store::of(tx, &before.repo).await? else { return Ok::<_, MirrorError>(()) };
        mirror.busy_until = Timestamp(0);
        mirror.fetched_bytes = fetched;
        let asked_again = mirror.next_at != before.next_at;
        let pause = i64::try_from(mirror.every_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        match &outcome {
            None => {}
            Some(Ok((come, applied))) => {
                (mirror.failures, mirror.error) = (0, String::new());
                mirror.synced_at = Some(now);
                if !asked_again {
                    mirror.next_at = (pause > 0).then(|| now.plus_ms(pause));
                }
                if let Some(applied) = applied.as_ref().filter(|_| mirror.url == come.url && mirror.source == come.source) {
                    (mirror.source_id, mirror.signer) = (come.source_id.clone(), come.signer);
                    (mirror.made_at, mirror.lacking) = (come.made_at, applied.lacking);
                    mirror.stored_bytes = applied.stored_bytes;
                    mirror.rewritten.extend(noted(&applied.rewritten, now.0));
                }
            }
            Some(Err(error)) => {
                mirror.failures += 1;
                mirror.error = told(error);
                if !asked_again {
                    let doubled = PAUSE_MS.saturating_mul(1 << mirror.failures.min(16));
                    mirror.next_at = (pause > 0).then(|| now.plus_ms(doubled.min(pause)));
                }
            }
        }
        Ok(store::put(tx, &mirror, None).await?)
    })
}

/// What to tell of a failure those who administrate the mirror: nothing from inside this hub.
fn told(error: &MirrorError) -> String {
    tracing::info!(%error, "a mirror does not follow");
    let text = match error {
        MirrorError::Db(_) | MirrorError::Internal(_) => "this hub failed; its log says why".to_owned(),
        MirrorError::Git(crate::git::GitError::Failed { .. } | crate::git::GitError::Io(_)) => {
            "git failed on this hub; its log says why".to_owned()
        }
        error => error.to_string(),
    };
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

async fn wanted(app: &App, repo: &Repo) -> Result<Wanted, MirrorError> {
    let tips = app.git.repo(&repo.id).tips(&["refs/heads", "refs/tags"]).await?;
    let mut connection = app.db.read().await?;
    let files = store::files(&mut connection, &repo.id, MAX_TOLD).await?;
    let xorbs = store::xorbs(&mut connection, &repo.id, MAX_TOLD).await?;
    let mut have: Vec<String> = tips.iter().map(|tip| tip.oid.to_string()).collect();
    have.sort_unstable();
    have.dedup();
    have.truncate(MAX_HAVE);
    Ok(Wanted {
        have,
        files: Some(files.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect()),
        xorbs: xorbs.iter().filter_map(|text| text.parse().ok()).collect(),
        // An empty mirror has not been filled yet, whatever its source has.
        refs: (!tips.is_empty()).then(|| Digest::of(&listed(&tips))),
        ..Wanted::default()
    })
}

async fn fetch(app: &App, mirror: &Mirror, fetched: Arc<AtomicU64>) -> Result<Fetched, MirrorError> {
    let repo = crate::repo::store::by_id(&mut *app.db.read().await?, &mirror.repo).await?.ok_or(RepoError::NotFound)?;
    let mut mirror = mirror.clone();
    let address = format!("{}/v1/repositories/{}/{}/bundle", mirror.url, repo.kind.plural(), mirror.source);
    let (url, http) = outbound::client_of(&address, &app.config.outbound_networks, mirror.tls_pin.as_ref()).await?;
    let token = store::token(&mut *app.db.read().await?, &app.hub_key, &mirror.repo).await?;
    let mut request = http.post(url).json(&wanted(app, &repo).await?);
    if !token.is_empty() {
        request = request.bearer_auth(token.as_str());
    }
    let source = |text: &str| MirrorError::Source(text.to_owned());
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await;
    let answer = answer.map_err(|_| source("does not answer"))?.map_err(|e| {
        source(if e.is_connect() { "cannot be reached, or has no valid certificate" } else { "broke off" })
    })?;
    match answer.status() {
        StatusCode::NO_CONTENT => return Ok((mirror, None)),
        StatusCode::OK => {}
        status => return Err(refusal(status, answer).await),
    }
    let pieces = timed(answer.bytes_stream().map_err(std::io::Error::other).boxed());
    let input = InspectReader::new(StreamReader::new(Box::pin(pieces)), move |piece: &[u8]| {
        fetched.fetch_add(piece.len() as u64, Ordering::Relaxed);
    });
    let opened = Opened::read(input).await?;
    fits(&opened.manifest, opened.signer, &mirror)?;
    if opened.manifest.kind() != Some(repo.kind) || !opened.manifest.whole {
        return Err(MirrorError::Refused("what came is not all of a repository of this kind".to_owned()));
    }
    mirror.signer = Some(opened.signer);
    (mirror.source_id, mirror.made_at) = (opened.manifest.repository.id.clone(), opened.manifest.made_at);
    let applied = apply(app, opened, &repo).await?;
    Ok((mirror, Some(applied)))
}

/// The same bytes, each piece in time.
fn timed(
    pieces: impl Stream<Item = std::io::Result<bytes::Bytes>> + Unpin + Send,
) -> impl Stream<Item = std::io::Result<bytes::Bytes>> + Send {
    futures::stream::unfold(pieces, |mut pieces| async move {
        let next = tokio::time::timeout(IDLE_TIMEOUT, pieces.next()).await;
        let next = next.unwrap_or_else(|_| Some(Err(std::io::Error::from(std::io::ErrorKind::TimedOut))));
        next.map(|piece| (piece, pieces))
    })
}

/// What a source says when it gives nothing.
async fn refusal(status: StatusCode, answer: reqwest::Response) -> MirrorError {
    let mut body = Vec::new();
    let mut pieces = answer.bytes_stream();
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(IDLE_TIMEOUT, pieces.next()).await {
        body.extend_from_slice(&piece);
        if body.len() > MAX_PROBLEM_BYTES {
            break;
        }
    }
    let said = serde_json::from_slice::<Problem>(&body).map_or_else(|_| String::new(), |problem| problem.detail);
    let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
    MirrorError::Source(format!("answered {}: {said}", status.as_u16()))
}
