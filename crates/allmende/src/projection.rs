//! Projections: a few facts of the logs in tables, for questions that go across logs. Nothing is decided by them.

use allmende_core::id::PartyId;
use allmende_core::ledger::envelope::Record;
use allmende_core::party::Party;
use allmende_core::state::State;
use allmende_core::statement::{KeyClass, Opened, Scope, row};
use futures::future::BoxFuture;

use crate::db::{Db, DbError, Tx, to_i64};
use crate::ledger::{LedgerError, store};
use crate::transaction;

/// The tables, each with the columns that order it: dropped and rebuilt they are the same.
pub const TABLES: &[(&str, &str)] = &[
    ("p_party_keys", "key"),
    ("p_key_statements", "party, idx"),
    ("p_collaborations", "log"),
    ("p_members", "log, party"),
];

const REPLAY_PAGE: u64 = 1_000;

/// Writes what `opened`, the newest entries behind `state`, change.
pub fn project<'a>(tx: &'a mut Tx, state: &'a State, opened: &'a [Opened]) -> BoxFuture<'a, Result<(), DbError>> {
    Box::pin(async move {
        let first = state.size() - opened.len() as u64;
        match state.collaboration() {
            None => keys(tx, state, first, opened).await,
            Some(log) => members(tx, log.as_str(), state, opened).await,
        }
    })
}

async fn keys(tx: &mut Tx, state: &State, first: u64, opened: &[Opened]) -> Result<(), DbError> {
    for (index, opened) in (first..).zip(opened) {
        if row(opened.statement.body.kind()).is_none_or(|row| row.scope != Scope::Keys) {
            continue;
        }
        let party = &opened.statement.header.by.party;
        sqlx::query("INSERT INTO p_key_statements (party, idx) VALUES ($1, $2)")
            .bind(party.as_str())
            .bind(to_i64(index)?)
            .execute(&mut **tx)
            .await?;
        if let Some(party) = state.parties().get(party) {
            keys_of(tx, party).await?;
        }
    }
    Ok(())
}

async fn keys_of(tx: &mut Tx, party: &Party) -> Result<(), DbError> {
    sqlx::query("DELETE FROM p_party_keys WHERE party = $1").bind(party.id.as_str()).execute(&mut **tx).await?;
    let nodes = party.nodes.keys().map(|key| (key, KeyClass::Node));
    let governance = party.governance.iter().map(|key| (key, KeyClass::Governance));
    for (key, class) in nodes.chain(governance) {
        sqlx::query("INSERT INTO p_party_keys (key, party, class) VALUES ($1, $2, $3)")
            .bind(key.to_string())
            .bind(party.id.as_str())
            .bind(class.code())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn members(tx: &mut Tx, log: &str, state: &State, opened: &[Opened]) -> Result<(), DbError> {
    let Some(charter) = state.charter() else { return Ok(()) };
    // Parties are invited and join by themselves; decisions let them in and put them out when they end.
    let touches = |o: &Opened| {
        matches!(o.statement.body.kind().split_once('.'), Some(("collaboration", _) | ("decision", "closed")))
    };
    if !opened.iter().any(touches) {
        return Ok(());
    }
    let founded_at = state.members().values().min().map_or(0, |at| at.0);
    sqlx::query("INSERT INTO p_collaborations (log, title, founded_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(log)
        .bind(&charter.title)
        .bind(founded_at)
        .execute(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM p_members WHERE log = $1").bind(log).execute(&mut **tx).await?;
    let joined = state.members().keys().map(|p| (p, "member"));
    let invited = charter.invited.iter().filter(|p| state.may_join(p)).map(|p| (p, "invited"));
    let admitted = state.admitted().iter().filter(|p| !charter.invited.contains(p)).map(|p| (p, "invited"));
    for (party, standing) in joined.chain(invited).chain(admitted) {
        sqlx::query("INSERT INTO p_members (log, party, standing) VALUES ($1, $2, $3)")
            .bind(log)
            .bind(party.as_str())
            .bind(standing)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// The names of the collaborations in which `party` is a member or invited, after `after`.
///
/// # Errors
/// [`DbError`].
pub async fn collaborations_of(db: &Db, party: &PartyId, after: &str, limit: u64) -> Result<Vec<String>, DbError> {
    let rows = sqlx::query_scalar("SELECT log FROM p_members WHERE party = $1 AND log > $2 ORDER BY log LIMIT $3")
        .bind(party.as_str())
        .bind(after)
        .bind(to_i64(limit)?)
        .fetch_all(&mut *db.read().await?)
        .await?;
    Ok(rows)
}

/// Where in the registry the statements about a party's keys stand, in order.
///
/// # Errors
/// [`DbError`].
pub async fn key_statements(db: &Db, party: &PartyId) -> Result<Vec<i64>, DbError> {
    let rows = sqlx::query_scalar("SELECT idx FROM p_key_statements WHERE party = $1 ORDER BY idx")
        .bind(party.as_str())
        .fetch_all(&mut *db.read().await?)
        .await?;
    Ok(rows)
}

/// Empties the tables and fills them again from the logs, in one transaction. `open` gives the empty state of a log.
///
/// # Errors
/// [`LedgerError`] when a log does not replay.
pub async fn rebuild(db: &Db, open: impl Fn(&str) -> Option<State>) -> Result<(), LedgerError> {
    transaction!(db, tx => {
        for (table, _) in TABLES {
            sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}"))).execute(&mut **tx).await?;
        }
        let mut after = String::new();
        loop {
            let logs = store::logs(tx, &after, REPLAY_PAGE).await?;
            for log in &logs {
                let mut state = open(log).ok_or(LedgerError::Misuse("a log's name is not valid"))?;
                replay(tx, log, &mut state).await?;
            }
            match logs.last() {
                Some(last) => after.clone_from(last),
                None => break Ok(()),
            }
        }
    })
}

async fn replay(tx: &mut Tx, log: &str, state: &mut State) -> Result<(), LedgerError> {
    loop {
        let entries = store::entries(tx, log, state.size(), REPLAY_PAGE).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            let record =
                Record::from_bytes(&entry.leaf).map_err(|_| LedgerError::Misuse("an entry is not canonical"))?;
            let opened = state.apply(&record).map_err(|_| LedgerError::Misuse("an entry does not replay"))?;
            project(tx, state, std::slice::from_ref(&opened)).await?;
        }
    }
}
