//! Webhooks and their deliveries in the database.

use allmende_core::signature::SecretKey;
use allmende_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::super::Cursor;
use super::{Domains, Target, Watched, Webhook, signature};
use crate::db::{DbError, Tx, to_u64};

const COLUMNS: &str = "id, owner, url, job, domains, secret, disabled, created_at";

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

async fn webhook(connection: &mut AnyConnection, hub_key: &SecretKey, row: &AnyRow) -> Result<Webhook, DbError> {
    let (id, url, job): (String, String, String) = (row.try_get(0)?, row.try_get(2)?, row.try_get(3)?);
    let domains: String = row.try_get(4)?;
    let secret: Vec<u8> = row.try_get(5)?;
    let sql = "SELECT kind, name FROM webhook_watches WHERE webhook = $1 ORDER BY kind, name";
    let watched = sqlx::query(sql).bind(&id).fetch_all(connection).await?;
    let watched = watched.iter().map(|row| Ok(Watched { kind: row.try_get(0)?, name: row.try_get(1)? }));
    Ok(Webhook {
        owner: row.try_get(1)?,
        target: if url.is_empty() { Target::Job(job) } else { Target::Url(url) },
        watched: watched.collect::<Result<_, DbError>>()?,
        domains: Domains::parse(domains.split(' ')).map_err(|e| corrupt("webhooks.domains", e))?,
        secret: signature::open(hub_key, &id, &secret)?,
        disabled: row.try_get::<i64, _>(6)? != 0,
        created_at: Timestamp(row.try_get(7)?),
        id,
    })
}

pub(super) async fn by_id(
    connection: &mut AnyConnection,
    hub_key: &SecretKey,
    id: &str,
) -> Result<Option<Webhook>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM webhooks WHERE id = $1");
    match sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *connection).await? {
        Some(row) => webhook(connection, hub_key, &row).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn of(
    connection: &mut AnyConnection,
    hub_key: &SecretKey,
    owner: &str,
) -> Result<Vec<Webhook>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM webhooks WHERE owner = $1 ORDER BY created_at, id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(owner).fetch_all(&mut *connection).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push(webhook(connection, hub_key, row).await?);
    }
    Ok(found)
}

pub(super) async fn count(tx: &mut Tx, owner: &str) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM webhooks WHERE owner = $1";
    Ok(sqlx::query_scalar(sql).bind(owner).fetch_one(&mut **tx).await?)
}

const fn address(target: &Target) -> (&str, &str) {
    match target {
        Target::Url(url) => (url.as_str(), ""),
        Target::Job(job) => ("", job.as_str()),
    }
}

async fn watch(tx: &mut Tx, webhook: &Webhook) -> Result<(), DbError> {
    for watched in &webhook.watched {
        sqlx::query(
            "INSERT INTO webhook_watches (webhook, kind, name, watched) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(&webhook.id)
        .bind(&watched.kind)
        .bind(&watched.name)
        .bind(watched.key())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn insert(tx: &mut Tx, new: &Webhook, secret: &[u8]) -> Result<(), DbError> {
    let (url, job) = address(&new.target);
    sqlx::query(
        "INSERT INTO webhooks (id, owner, url, job, domains, secret, disabled, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
    )
    .bind(&new.id)
    .bind(&new.owner)
    .bind(url)
    .bind(job)
    .bind(new.domains.words().join(" "))
    .bind(secret)
    .bind(i64::from(new.disabled))
    .bind(new.created_at.0)
    .execute(&mut **tx)
    .await?;
    watch(tx, new).await
}

pub(super) async fn update(tx: &mut Tx, changed: &Webhook, secret: &[u8], now: Timestamp) -> Result<(), DbError> {
    let (url, job) = address(&changed.target);
    let done = sqlx::query(
        "UPDATE webhooks SET url = $2, job = $3, domains = $4, secret = $5, disabled = $6, updated_at = $7 WHERE id = $1",
    )
    .bind(&changed.id)
    .bind(url)
    .bind(job)
    .bind(changed.domains.words().join(" "))
    .bind(secret)
    .bind(i64::from(changed.disabled))
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM webhook_watches WHERE webhook = $1").bind(&changed.id).execute(&mut **tx).await?;
    // Somebody may have removed it meanwhile.
    if done.rows_affected() == 1 { watch(tx, changed).await } else { Ok(()) }
}

pub(super) async fn delete(tx: &mut Tx, id: &str) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM webhook_deliveries WHERE webhook = $1",
        "DELETE FROM webhook_watches WHERE webhook = $1",
        "DELETE FROM webhooks WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// The enabled webhooks that watch one of two, with their owners.
pub(super) async fn watching(
    connection: &mut AnyConnection,
    keys: [&str; 2],
    domain: &str,
    limit: i64,
) -> Result<Vec<(String, String)>, DbError> {
    let rows = sqlx::query(
        "SELECT id, owner FROM webhooks
         WHERE id IN (SELECT webhook FROM webhook_watches WHERE watched = $1 OR watched = $2)
           AND disabled = 0 AND (domains = $3 OR domains = 'repo discussion')
         ORDER BY created_at, id LIMIT $4",
    )
    .bind(keys[0])
    .bind(keys[1])
    .bind(domain)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Still to be sent.
    Pending,
    /// The receiver took it.
    Done,
    /// The receiver did not, as often as it was tried.
    Failed,
    /// It is not sent, whatever the receiver does.
    Refused,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Done, Self::Failed, Self::Refused].into_iter().find(|state| state.as_str() == word)
    }
}

/// A delivery. What was answered is not kept, but for its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id, sent along: a receiver that sees it again has it already.
    pub id: String,
    /// The webhook.
    pub webhook: String,
    /// The repository's id.
    pub repo: String,
    /// `scope:action`.
    pub event: String,
    /// The body.
    pub payload: String,
    /// What became of it.
    pub state: State,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried again.
    pub next_at: Timestamp,
    /// The last answer's status; 0 without one.
    pub status: u64,
    /// Why it was not taken.
    pub error: String,
    /// Since when.
    pub created_at: Timestamp,
}

const DELIVERY: &str = "id, webhook, repo, event, payload, state, attempts, next_at, status, error, created_at";

fn delivery(row: &AnyRow) -> Result<Delivery, DbError> {
    let state: String = row.try_get(5)?;
    Ok(Delivery {
        id: row.try_get(0)?,
        webhook: row.try_get(1)?,
        repo: row.try_get(2)?,
        event: row.try_get(3)?,
        payload: row.try_get(4)?,
        state: State::parse(&state).ok_or_else(|| corrupt("webhook_deliveries.state", &state))?,
        attempts: to_u64("webhook_deliveries.attempts", row.try_get(6)?)?,
        next_at: Timestamp(row.try_get(7)?),
        status: to_u64("webhook_deliveries.status", row.try_get(8)?)?,
        error: row.try_get(9)?,
        created_at: Timestamp(row.try_get(10)?),
    })
}

/// How many of a webhook's wait.
pub(super) async fn waiting(tx: &mut Tx, webhook: &str) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM webhook_deliveries WHERE webhook = $1 AND state = 'pending'";
    Ok(sqlx::query_scalar(sql).bind(webhook).fetch_one(&mut **tx).await?)
}

pub(super) async fn queue(tx: &mut Tx, new: &Delivery) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO webhook_deliveries (id, webhook, repo, event, payload, state, attempts, next_at, status, error,
                                         created_at)
         VALUES ($1, $2, $3, $4, $5, 'pending', 0, $6, 0, '', $6)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&new.id)
    .bind(&new.webhook)
    .bind(&new.repo)
    .bind(&new.event)
    .bind(&new.payload)
    .bind(new.created_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What is due, longest first, at most one of each webhook.
pub(super) async fn due(connection: &mut AnyConnection, now: Timestamp, most: usize) -> Result<Vec<Delivery>, DbError> {
    let sql = format!(
        "SELECT {DELIVERY} FROM webhook_deliveries WHERE state = 'pending' AND next_at <= $1 ORDER BY next_at, id LIMIT 200"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now.0).fetch_all(connection).await?;
    let mut found: Vec<Delivery> = Vec::new();
    for row in &rows {
        let next = delivery(row)?;
        if found.len() < most && !found.iter().any(|other| other.webhook == next.webhook) {
            found.push(next);
        }
    }
    Ok(found)
}

/// Takes a delivery for as long as trying it takes, unless another process has it already.
pub(super) async fn claim(tx: &mut Tx, due: &Delivery, until: Timestamp) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE webhook_deliveries SET attempts = attempts + 1, next_at = $3
         WHERE id = $1 AND state = 'pending' AND next_at = $2",
    )
    .bind(&due.id)
    .bind(due.next_at.0)
    .bind(until.0)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes what became of an attempt.
pub(super) async fn note(tx: &mut Tx, tried: &Delivery, now: Timestamp) -> Result<(), DbError> {
    let ended_at = (tried.state != State::Pending).then_some(now.0);
    sqlx::query(
        "UPDATE webhook_deliveries SET state = $2, attempts = $3, next_at = $4, status = $5, error = $6, ended_at = $7
         WHERE id = $1 AND state = 'pending'",
    )
    .bind(&tried.id)
    .bind(tried.state.as_str())
    .bind(crate::db::to_i64(tried.attempts)?)
    .bind(tried.next_at.0)
    .bind(crate::db::to_i64(tried.status)?)
    .bind(&tried.error)
    .bind(ended_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The deliveries of a webhook, latest first, after `before`.
///
/// # Errors
/// [`DbError`].
pub async fn deliveries(
    connection: &mut AnyConnection,
    webhook: &str,
    before: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<Delivery>, DbError> {
    let (at, id) = before.map_or((i64::MAX, "~"), |(at, id)| (at.0, id.as_str()));
    let sql = format!(
        "SELECT {DELIVERY} FROM webhook_deliveries
         WHERE webhook = $1 AND (created_at < $2 OR (created_at = $2 AND id < $3))
         ORDER BY created_at DESC, id DESC LIMIT $4"
    );
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(webhook).bind(at).bind(id).bind(limit).fetch_all(connection).await?;
    rows.iter().map(delivery).collect()
}
