//! Who read how much of repositories under terms. Gathered in memory, written every few seconds, and attested in the log
//! when a period is over: once for each period, however often it is tried.
//!
//! A crash loses what was gathered since it was last written, at most five seconds. What its owner's own people read is not
//! counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use allmende_core::id::{AssetId, CollaborationId, PartyId};
use allmende_core::statement::{Reads, ReadsCounted};
use allmende_core::time::Timestamp;
use sqlx::Row as _;

use super::{Repo, RepoError, terms};
use crate::account::{Principal, Role};
use crate::app::App;
use crate::db::{Db, DbError, to_i64, to_u64};
use crate::ledger::AppendError;
use crate::transaction;

/// How often what was gathered is written.
const EVERY: Duration = Duration::from_secs(5);
/// How long after its end a period may still grow, by what another process of the hub has gathered, in milliseconds.
const GRACE_MS: i64 = 15_000;
/// Most periods that are attested in one go.
const MAX_PERIODS: i64 = 1_000;

/// A line of the account: what a party reads of a repository in a period.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Line {
    collaboration: CollaborationId,
    repository: AssetId,
    party: PartyId,
    /// The begin of the period.
    from: Timestamp,
}

/// What was gathered and not yet written: requests and bytes.
#[derive(Debug, Default)]
pub struct Gathered(Mutex<HashMap<Line, (u64, u64)>>);

impl Gathered {
    fn add(&self, line: Line, (requests, bytes): (u64, u64)) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = lines.entry(line).or_default();
        *sums = (sums.0.saturating_add(requests), sums.1.saturating_add(bytes));
    }

    fn take(&self) -> HashMap<Line, (u64, u64)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Length of a period, in milliseconds.
fn period_ms(app: &App) -> i64 {
    i64::try_from(app.config.reads_period_s).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000).max(1)
}

/// Notes that `bytes` of a repository were given out to `principal`.
pub fn note(app: &App, principal: Option<&Principal>, repo: &Repo, bytes: u64) {
    let (Some(collaboration), Some(principal), Ok(repository)) = (&repo.collaboration, principal, terms::asset(repo))
    else {
        return;
    };
    let mut parties = principal.parties(Role::Read);
    let own = repo.owner.party.as_ref();
    let Some(party) = parties.find(|party| Some(*party) != own) else { return };
    if principal.role_in(&repo.owner.id).is_some() {
        return;
    }
    let now = app.clock.now().0;
    let from = Timestamp(now - now.rem_euclid(period_ms(app)));
    let line = Line { collaboration: collaboration.clone(), repository, party: party.clone(), from };
    app.reads.add(line, (1, bytes));
}

async fn write(app: &App) -> Result<(), DbError> {
    let lines = app.reads.take();
    if lines.is_empty() {
        return Ok(());
    }
    let written: Result<(), DbError> = transaction!(app.db, tx => {
        for (line, (requests, bytes)) in &lines {
            sqlx::query(
                "INSERT INTO repo_reads (collaboration, repository, party, period, requests, bytes)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (collaboration, repository, party, period) DO UPDATE
                 SET requests = repo_reads.requests + excluded.requests, bytes = repo_reads.bytes + excluded.bytes",
            )
            .bind(line.collaboration.as_str())
            .bind(line.repository.to_string())
            .bind(line.party.as_str())
            .bind(line.from.0)
            .bind(to_i64(*requests)?)
            .bind(to_i64(*bytes)?)
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    });
    if written.is_err() {
        for (line, sums) in lines {
            app.reads.add(line, sums);
        }
    }
    written
}

/// The periods of repositories that are over, oldest first.
async fn over(db: &Db, before: Timestamp) -> Result<Vec<(CollaborationId, AssetId, Timestamp)>, DbError> {
    let rows = sqlx::query(
        "SELECT DISTINCT period, collaboration, repository FROM repo_reads WHERE period <= $1
         ORDER BY period, collaboration, repository LIMIT $2",
    )
    .bind(before.0)
    .bind(MAX_PERIODS)
    .fetch_all(&mut *db.read().await?)
    .await?;
    let corrupt = |column, message: String| DbError::Corrupt { column, message };
    rows.iter()
        .map(|row| {
            let (collaboration, repository): (String, String) = (row.try_get(1)?, row.try_get(2)?);
            Ok((
                collaboration.parse().map_err(|e| corrupt("repo_reads.collaboration", format!("{e}")))?,
                repository.parse().map_err(|e| corrupt("repo_reads.repository", format!("{e}")))?,
                Timestamp(row.try_get(0)?),
            ))
        })
        .collect()
}

async fn readers(
    db: &Db,
    collaboration: &CollaborationId,
    repository: &AssetId,
    period: Timestamp,
) -> Result<Vec<Reads>, DbError> {
    let rows = sqlx::query(
        "SELECT party, requests, bytes FROM repo_reads WHERE collaboration = $1 AND repository = $2 AND period = $3",
    )
    .bind(collaboration.as_str())
    .bind(repository.to_string())
    .bind(period.0)
    .fetch_all(&mut *db.read().await?)
    .await?;
    let mut readers = Vec::with_capacity(rows.len());
    for row in &rows {
        let party: String = row.try_get(0)?;
        let corrupt =
            |e: allmende_core::id::InvalidId| DbError::Corrupt { column: "repo_reads.party", message: e.to_string() };
        readers.push(Reads {
            party: party.parse().map_err(corrupt)?,
            requests: to_u64("repo_reads.requests", row.try_get(1)?)?,
            bytes: to_u64("repo_reads.bytes", row.try_get(2)?)?,
        });
    }
    // Not by the database: its order of texts may be a language's.
    readers.sort_by(|a, b| a.party.cmp(&b.party));
    Ok(readers)
}

/// Attests every period that is over, and forgets it. Gives how many.
///
/// # Errors
/// [`RepoError`] of the database or a log.
pub async fn count(app: &App) -> Result<u64, RepoError> {
    write(app).await?;
    let length = period_ms(app);
    let due = over(&app.db, app.clock.now().plus_ms(-length.saturating_add(GRACE_MS))).await?;
    let mut counted = 0;
    for (collaboration, repository, period) in due {
        let readers = readers(&app.db, &collaboration, &repository, period).await?;
        if let Some(log) = app.logs.get(&collaboration).await? {
            let begin = log.state().await?.repositories().get(&repository).map(|placed| placed.counted_until);
            let until = period.plus_ms(length);
            // The repository may have come under the terms within the period; what was counted already is not again.
            if let Some(from) = begin.map(|begin| begin.max(period)).filter(|from| *from < until) {
                let body = ReadsCounted { repository: repository.clone(), from, until, readers };
                match terms::attest(&log, body).await {
                    Ok(()) => counted += 1,
                    Err(AppendError::Refused(refusal)) => {
                        tracing::warn!(%collaboration, %repository, %refusal, "a count of reads was not taken");
                    }
                    // A full log, or one that waits for its witnesses: kept until it takes it.
                    Err(AppendError::Full { .. } | AppendError::Restored { .. }) => continue,
                    Err(other) => return Err(other.into()),
                }
            }
        }
        let forgotten: Result<(), DbError> = transaction!(app.db, tx => {
            sqlx::query("DELETE FROM repo_reads WHERE collaboration = $1 AND repository = $2 AND period = $3")
                .bind(collaboration.as_str())
                .bind(repository.to_string())
                .bind(period.0)
                .execute(&mut **tx)
                .await?;
            Ok(())
        });
        forgotten?;
    }
    Ok(counted)
}

/// Writes and counts until the hub stops.
pub async fn keep(app: App) {
    loop {
        let closing = app.closing.is_cancelled();
        if let Err(error) = count(&app).await {
            tracing::warn!(%error, "reads were not counted and are tried again");
        }
        if closing {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = app.closing.cancelled() => {}
        }
    }
}
