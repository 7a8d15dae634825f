//! Gated repositories: everybody sees them, and their files are for those whom their owners let in.

use allmende_core::time::Timestamp;
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Cursor, ExchangeError, Standing, prose, whole};
use crate::account::store as accounts;
use crate::account::{Account, Principal, Role, new_id};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::repo::{Gate, Repo, Right, terms};
use crate::transaction;

/// Longest reason of a rejection, in characters.
const MAX_REASON_CHARS: usize = 1_000;
/// Most bytes of what is filled in when asking, as JSON.
const MAX_FIELDS_BYTES: usize = 16 << 10;
/// Most requests that wait for the owner of one repository.
const MAX_PENDING: i64 = 10_000;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing yet.
    Pending,
    /// The files may be read.
    Accepted,
    /// They may not.
    Rejected,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }

    /// The status of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Accepted, Self::Rejected].into_iter().find(|status| status.as_str() == word)
    }
}

/// Somebody's request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its id.
    pub id: String,
    /// Who.
    pub account: Account,
    /// What came of it.
    pub status: Status,
    /// Why it was rejected.
    pub reason: String,
    /// What was filled in.
    pub fields: Value,
    /// When.
    pub asked_at: Timestamp,
}

const COLUMNS: &str = "id, account, status, reason, fields, asked_at";

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

async fn request(connection: &mut AnyConnection, row: &AnyRow) -> Result<Option<Request>, DbError> {
    let (account, status, fields): (String, String, String) = (row.try_get(1)?, row.try_get(2)?, row.try_get(4)?);
    let Some(account) = accounts::by_id(connection, &account).await? else { return Ok(None) };
    Ok(Some(Request {
        id: row.try_get(0)?,
        account,
        status: Status::parse(&status).ok_or_else(|| corrupt("access_requests.status", &status))?,
        reason: row.try_get(3)?,
        fields: serde_json::from_str(&fields).map_err(|e| corrupt("access_requests.fields", e))?,
        asked_at: Timestamp(row.try_get(5)?),
    }))
}

async fn by(
    connection: &mut AnyConnection,
    repo: &Repo,
    column: &'static str,
    value: &str,
) -> Result<Option<Request>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM access_requests WHERE repo = $1 AND {column} = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&repo.id).bind(value).fetch_optional(&mut *connection).await?;
    match row {
        Some(row) => request(connection, &row).await,
        None => Ok(None),
    }
}

/// Whether `principal` may read the files of a repository that they see: the one question of every door to bytes. The
/// terms of its collaboration come first, and its own gate on top. Those who may write there need no grant; a token must
/// reach the place, whoever was let in.
///
/// # Errors
/// [`ExchangeError::Restricted`] says how they stand.
pub async fn may_read_files(app: &App, principal: Option<&Principal>, repo: &Repo) -> Result<(), ExchangeError> {
    terms::may_read(app, principal, repo).await?;
    if repo.gate == Gate::Off {
        return Ok(());
    }
    let refuse = |standing| {
        let (kind, name) = (repo.kind, repo.full_name());
        Err(ExchangeError::Restricted { kind, name, standing })
    };
    let Some(principal) = principal else { return refuse(Standing::Anonymous) };
    let writes = match principal.role_in(&repo.owner.id) {
        Some(role) => role >= Role::Write || (role == Role::Contributor && repo.creator == principal.account.id),
        None => false,
    };
    let standing = if writes {
        Some(Status::Accepted)
    } else {
        by(&mut *app.db.read().await?, repo, "account", &principal.account.id).await?.map(|request| request.status)
    };
    let reached = principal.token.rights.reach(repo.owner.name.as_str(), repo.name.as_str(), false);
    match standing {
        Some(Status::Accepted) if reached => Ok(()),
        Some(Status::Accepted) => refuse(Standing::OtherToken),
        Some(Status::Pending) => refuse(Standing::Pending),
        Some(Status::Rejected) => refuse(Standing::Rejected),
        None => refuse(Standing::Stranger),
    }
}

/// Refuses who may not decide about requests: that takes as much as writing.
///
/// # Errors
/// [`ExchangeError::Forbidden`].
pub fn may_decide(right: Right) -> Result<(), ExchangeError> {
    if right >= Right::Write {
        return Ok(());
    }
    Err(ExchangeError::Forbidden(
        "You may not see or answer access requests of this repository: it needs the role 'write' and a token that may write",
    ))
}

fn gated(repo: &Repo) -> Result<(), ExchangeError> {
    if repo.gate != Gate::Off {
        return Ok(());
    }
    Err(ExchangeError::Bad("This repository is not gated: everybody who sees it may read its files".to_owned()))
}

async fn put(
    tx: &mut Tx,
    repo: &Repo,
    account: &Account,
    status: Status,
    fields: &str,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    sqlx::query(
        "INSERT INTO access_requests (id, repo, account, status, reason, fields, asked_at, changed_at)
         VALUES ($1, $2, $3, $4, '', $5, $6, $6)",
    )
    .bind(new_id()?)
    .bind(&repo.id)
    .bind(&account.id)
    .bind(status.as_str())
    .bind(fields)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn change(
    tx: &mut Tx,
    request: &Request,
    status: Status,
    reason: &str,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    sqlx::query("UPDATE access_requests SET status = $2, reason = $3, changed_at = $4 WHERE id = $1")
        .bind(&request.id)
        .bind(status.as_str())
        .bind(reason)
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Asks for access. An automatic gate opens at once; asked again it changes nothing, and a rejection stands.
///
/// # Errors
/// [`ExchangeError::Bad`] when there is no gate.
pub async fn ask(app: &App, principal: &Principal, repo: &Repo, fields: &Value) -> Result<Status, ExchangeError> {
    whole(principal)?;
    gated(repo)?;
    if repo.gate == Gate::Auto {
        terms::grant(app, repo, &principal.account).await?;
    }
    let fields = fields.to_string();
    if fields.len() > MAX_FIELDS_BYTES {
        return Err(ExchangeError::Bad(format!("what was filled in has more than {MAX_FIELDS_BYTES} bytes")));
    }
    let (account, now) = (&principal.account, app.clock.now());
    transaction!(app.db, tx => {
        let standing = by(tx, repo, "account", &account.id).await?;
        let status = if repo.gate == Gate::Auto { Status::Accepted } else { Status::Pending };
        match standing {
            Some(request) if request.status == Status::Pending && status == Status::Accepted => {
                change(tx, &request, status, "", now).await?;
                Ok(status)
            }
            Some(request) => Ok(request.status),
            None => {
                let count = "SELECT COUNT(*) FROM access_requests WHERE repo = $1 AND status = 'pending'";
                let waiting: i64 = sqlx::query_scalar(count).bind(&repo.id).fetch_one(&mut **tx).await?;
                if status == Status::Pending && waiting >= MAX_PENDING {
                    return Err(ExchangeError::TooMany("too many requests wait for this repository's owner".to_owned()));
                }
                put(tx, repo, account, status, &fields, now).await?;
                Ok(status)
            }
        }
    })
}

/// Whose request.
#[derive(Debug, Clone)]
pub enum Whose {
    /// By the account's name.
    Name(String),
    /// By the account's id.
    Account(String),
    /// By the request's id.
    Request(String),
}

async fn find(connection: &mut AnyConnection, repo: &Repo, whose: &Whose) -> Result<Request, ExchangeError> {
    let found = match whose {
        Whose::Name(name) => {
            let account = accounts::by_name(connection, name).await?.ok_or(ExchangeError::Missing("User"))?;
            by(connection, repo, "account", &account.id).await?
        }
        Whose::Account(id) => by(connection, repo, "account", id).await?,
        Whose::Request(id) => by(connection, repo, "id", id).await?,
    };
    found.ok_or(ExchangeError::Missing("Access request"))
}

/// Answers a request. Only the right to decide, which is the caller's to check, is needed.
///
/// # Errors
/// [`ExchangeError::Missing`] without one, [`ExchangeError::Bad`] when it stands so already.
pub async fn answer(
    app: &App,
    repo: &Repo,
    whose: &Whose,
    status: Status,
    reason: Option<&str>,
) -> Result<(), ExchangeError> {
    gated(repo)?;
    let reason = match reason {
        Some(_) if status != Status::Rejected => {
            return Err(ExchangeError::Bad("only a rejection has a reason".to_owned()));
        }
        reason => prose("the reason", reason.unwrap_or_default(), MAX_REASON_CHARS)?,
    };
    let now = app.clock.now();
    if status == Status::Accepted {
        let request = find(&mut *app.db.read().await?, repo, whose).await?;
        terms::grant(app, repo, &request.account).await?;
    }
    transaction!(app.db, tx => {
        let request = find(tx, repo, whose).await?;
        if request.status == status {
            return Err(ExchangeError::Bad(format!("The access request is {} already", status.as_str())));
        }
        change(tx, &request, status, &reason, now).await
    })
}

/// Lets somebody in who may not even have asked.
///
/// # Errors
/// [`ExchangeError::Bad`] when they may read already.
pub async fn grant(app: &App, repo: &Repo, name: &str) -> Result<(), ExchangeError> {
    gated(repo)?;
    let now = app.clock.now();
    let account = accounts::by_name(&mut *app.db.read().await?, name).await?.ok_or(ExchangeError::Missing("User"))?;
    terms::grant(app, repo, &account).await?;
    transaction!(app.db, tx => {
        match by(tx, repo, "account", &account.id).await? {
            Some(request) if request.status == Status::Accepted => {
                Err(ExchangeError::Bad("The user has access already".to_owned()))
            }
            Some(request) => change(tx, &request, Status::Accepted, "", now).await,
            None => put(tx, repo, &account, Status::Accepted, "{}", now).await,
        }
    })
}

/// The requests of a status, latest first, after `before`.
///
/// # Errors
/// [`DbError`].
pub async fn list(
    connection: &mut AnyConnection,
    repo: &Repo,
    status: Status,
    before: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<Request>, DbError> {
    let (at, id) = before.map_or((i64::MAX, "~"), |(at, id)| (at.0, id.as_str()));
    let sql = format!(
        "SELECT {COLUMNS} FROM access_requests
         WHERE repo = $1 AND status = $2 AND (asked_at < $3 OR (asked_at = $3 AND id < $4))
         ORDER BY asked_at DESC, id DESC LIMIT $5"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&repo.id)
        .bind(status.as_str())
        .bind(at)
        .bind(id)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.extend(request(connection, row).await?);
    }
    Ok(found)
}
