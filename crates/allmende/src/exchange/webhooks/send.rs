//! The task that sends what is queued, again and later where a receiver does not take it.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header;

use super::signature::{self, sign};
use super::store::{self, Delivery, State};
use super::{Target, Webhook};
use crate::app::App;
use crate::db::DbError;
use crate::exchange::ExchangeError;
use crate::outbound;
use crate::repo::ops::is_visible;
use crate::transaction;

/// How often the queue is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long an attempt belongs to who took it: longer than it can take.
const CLAIM_MS: i64 = 60_000;
/// Pauses after the first failures, in seconds; after the last of them it is given up.
const PAUSES_S: [i64; 6] = [10, 60, 300, 1_800, 7_200, 28_800];
/// Deliveries that one round takes and sends at the same time.
const AT_ONCE: usize = 16;

/// What became of an attempt.
enum Outcome {
    /// An answer came, with this status.
    Answered(u16),
    /// None came.
    Unanswered(String),
    /// It is not to be sent.
    Refused(String),
    /// The hub stops.
    Interrupted,
}

/// Sends until the hub stops.
pub async fn keep(app: App) {
    let mut failing = false;
    while !app.closing.is_cancelled() {
        let sent = round(&app).await;
        if let Err(error) = &sent
            && !failing
        {
            tracing::warn!(%error, "webhooks wait until this passes");
        }
        failing = sent.is_err();
        if matches!(sent, Ok(1..)) {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = app.closing.cancelled() => {}
        }
    }
}

/// Tries what is due, one of each webhook; gives how many were tried.
///
/// # Errors
/// [`ExchangeError`] of the database or a log.
pub async fn round(app: &App) -> Result<usize, ExchangeError> {
    super::event::gather(app).await?;
    let now = app.clock.now();
    let due = store::due(&mut *app.db.read().await?, now, AT_ONCE).await?;
    let mut taken = Vec::with_capacity(due.len());
    for mut delivery in due {
        let until = now.plus_ms(CLAIM_MS);
        let claimed: Result<bool, DbError> = transaction!(app.db, tx => { store::claim(tx, &delivery, until).await });
        if claimed? {
            delivery.attempts += 1;
            taken.push(delivery);
        }
    }
    let count = taken.len();
    let mut tried =
        futures::stream::iter(taken.into_iter().map(|delivery| attempt(app, delivery))).buffer_unordered(AT_ONCE);
    while let Some(noted) = tried.next().await {
        noted?;
    }
    Ok(count)
}

async fn attempt(app: &App, mut delivery: Delivery) -> Result<(), ExchangeError> {
    let outcome = tokio::select! {
        outcome = deliver(app, &delivery) => outcome?,
        () = app.closing.cancelled() => Outcome::Interrupted,
    };
    let now = app.clock.now();
    let tries = usize::try_from(delivery.attempts).unwrap_or(usize::MAX);
    (delivery.status, delivery.error) = match &outcome {
        Outcome::Answered(status) if (200..300).contains(status) => (u64::from(*status), String::new()),
        Outcome::Answered(status) => (u64::from(*status), format!("the receiver answered {status}")),
        Outcome::Unanswered(why) | Outcome::Refused(why) => (0, why.clone()),
        Outcome::Interrupted => (0, String::new()),
    };
    let pause = PAUSES_S.get(tries.saturating_sub(1));
    (delivery.state, delivery.next_at) = match (outcome, pause) {
        (Outcome::Answered(200..300), _) => (State::Done, now),
        (Outcome::Refused(_), _) => (State::Refused, now),
        (Outcome::Interrupted, _) => {
            delivery.attempts -= 1;
            (State::Pending, now)
        }
        (_, Some(pause_s)) => (State::Pending, now.plus_ms(pause_s * 1_000)),
        (_, None) => (State::Failed, now),
    };
    tracing::debug!(delivery = delivery.id, state = delivery.state.as_str(), tries, "a webhook's delivery was tried");
    Ok(transaction!(app.db, tx => { store::note(tx, &delivery, now).await })?)
}

async fn deliver(app: &App, delivery: &Delivery) -> Result<Outcome, ExchangeError> {
    let refused = |why: &str| Ok(Outcome::Refused(why.to_owned()));
    let webhook = store::by_id(&mut *app.db.read().await?, &app.hub_key, &delivery.webhook).await?;
    let Some(webhook) = webhook.filter(|webhook| !webhook.disabled) else {
        return refused("the webhook is disabled");
    };
    // Rights may have ended since it was queued; of what is gone, that it is gone may be said.
    let repo = crate::repo::store::by_id(&mut *app.db.read().await?, &delivery.repo).await?;
    if let Some(repo) = repo {
        let owner = super::event::owner(app, &webhook.owner).await?;
        let may = match &owner {
            Some(owner) => is_visible(app, Some(owner), &repo).await?,
            None => false,
        };
        if !may {
            return refused("its owner may not see the repository any more");
        }
    }
    match &webhook.target {
        Target::Job(_) => refused("this hub runs no jobs: give the webhook a url"),
        Target::Url(url) => Ok(send(app, &webhook, url, delivery).await),
    }
}

async fn send(app: &App, webhook: &Webhook, url: &str, delivery: &Delivery) -> Outcome {
    let (url, http) = match outbound::client(url, &app.config.outbound_networks).await {
        Ok(client) => client,
        Err(error) if error.may_pass() => return Outcome::Unanswered(error.to_string()),
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let at_s = app.clock.now().0 / 1_000;
    let mut request = http
        .post(url)
        .timeout(TIMEOUT)
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-allmende-delivery", &delivery.id);
    if !webhook.secret.is_empty() {
        request = request
            .header("x-webhook-secret", webhook.secret.as_str())
            .header(signature::HEADER, sign(&webhook.secret, at_s, delivery.payload.as_bytes()));
    }
    // The answer's body stays unread and goes with the connection.
    match request.body(delivery.payload.clone()).send().await {
        Ok(answer) => Outcome::Answered(answer.status().as_u16()),
        Err(error) if error.is_timeout() => Outcome::Unanswered(format!("no answer within {} s", TIMEOUT.as_secs())),
        Err(error) if error.is_connect() => Outcome::Unanswered("no connection, or no valid certificate".to_owned()),
        Err(_) => Outcome::Unanswered("the connection broke off".to_owned()),
    }
}
