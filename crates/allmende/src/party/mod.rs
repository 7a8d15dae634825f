//! Parties and their keys on the hub: registered in its own log, copied into each collaboration they join.

pub mod api;
mod registration;

use std::sync::Arc;

use allmende_core::id::PartyId;
use allmende_core::ledger::envelope::{Envelope, Record};
use allmende_core::signature::PublicKey;
use allmende_core::statement::HUB;
use futures::future::BoxFuture;
use sqlx::AnyConnection;

use crate::app::App;
use crate::auth::{KeyDirectory, Scope, Scopes};
use crate::db::{DbError, to_u64};
use crate::ledger::{AppendError, Appended, Item, Log, hold, store};
use crate::{projection, transaction};

pub use registration::register;

/// Says who may sign in: the governance and node keys that hold now.
#[derive(Debug, Clone, Copy)]
pub struct Directory;

impl KeyDirectory for Directory {
    fn login_scopes<'a>(
        &'a self,
        connection: &'a mut AnyConnection,
        party: &'a PartyId,
        key: &'a PublicKey,
    ) -> BoxFuture<'a, Result<Option<Scopes>, DbError>> {
        Box::pin(async move {
            let class: Option<String> =
                sqlx::query_scalar("SELECT class FROM p_party_keys WHERE key = $1 AND party = $2")
                    .bind(key.to_string())
                    .bind(party.as_str())
                    .fetch_optional(connection)
                    .await?;
            Ok(match class.as_deref() {
                Some("governance") => Some(Scopes::of(&[Scope::Read, Scope::Write])),
                Some("node") => Some(Scopes::of(&[Scope::Read, Scope::Node])),
                _ => None,
            })
        })
    }
}

/// A party's statements about its keys, in order.
///
/// # Errors
/// [`AppendError`] when the registry cannot be read.
pub async fn key_history(app: &App, party: &PartyId) -> Result<Vec<Envelope>, AppendError> {
    let mut history = Vec::new();
    for index in projection::key_statements(&app.db, party).await? {
        let index = to_u64("p_key_statements.idx", index)?;
        let entries = store::entries(&mut *app.db.read().await?, HUB, index, 1).await?;
        for entry in entries {
            let corrupt = |reason: String| AppendError::Corrupt { log: HUB.to_owned(), index, reason };
            history.push(Record::from_bytes(&entry.leaf).map_err(|e| corrupt(e.to_string()))?.envelope);
        }
    }
    Ok(history)
}

/// Brings a party's statements about its keys into `log`, those that it has not yet.
///
/// # Errors
/// [`AppendError`].
pub async fn copy_keys(app: &App, log: &Arc<Log>, party: &PartyId) -> Result<(), AppendError> {
    for envelope in key_history(app, party).await? {
        // One by one: what stands there already is answered with its place.
        log.append(vec![Item::Signed(envelope)]).await?;
    }
    Ok(())
}

/// Records a statement about keys, in the registry first and then in every collaboration that knows the party.
///
/// # Errors
/// [`AppendError::Refused`] says why.
pub async fn record(app: &App, party: &PartyId, envelope: Envelope) -> Result<(Arc<Log>, Appended), AppendError> {
    let registry = app.logs.registry().await?;
    let appended = registry.append(vec![Item::Signed(envelope)]).await?;
    spread(app, party).await?;
    let appended = appended.into_iter().next().ok_or(AppendError::Aborted)?;
    Ok((registry, appended))
}

/// Copies a party's key statements to wherever the party is a member. Run again after a crash, it does what is left.
async fn spread(app: &App, party: &PartyId) -> Result<(), AppendError> {
    let mut after = String::new();
    loop {
        let names = projection::collaborations_of(&app.db, party, &after, 1_000).await?;
        let Some(last) = names.last() else { return Ok(()) };
        after.clone_from(last);
        for name in &names {
            let Ok(collaboration) = name.parse() else { continue };
            if let Some(log) = app.logs.get(&collaboration).await?
                && log.state().await?.parties().contains_key(party)
            {
                match copy_keys(app, &log, party).await {
                    // Done when its witnesses were heard.
                    Err(AppendError::Restored { .. }) => {}
                    other => other?,
                }
            }
        }
    }
}

/// Finishes what a crash may have cut short: key statements that did not reach every collaboration.
///
/// # Errors
/// [`AppendError`].
pub async fn reconcile(app: &App) -> Result<(), AppendError> {
    let parties: Vec<PartyId> = app.logs.registry().await?.state().await?.parties().keys().cloned().collect();
    for party in parties {
        spread(app, &party).await?;
    }
    Ok(())
}

/// Lets the registry take entries again when no collaboration waits for its witnesses any more, unless one of them knows
/// statements about keys that the registry lost. Then brings the registry's to wherever they belong.
///
/// # Errors
/// [`AppendError`].
pub async fn resume_registry(app: &App) -> Result<(), AppendError> {
    let held = hold::all(&mut *app.db.read().await?).await?;
    if held.iter().any(|log| log != HUB) {
        return Ok(());
    }
    let registry = app.logs.registry().await?;
    if !held.is_empty() {
        for name in app.logs.all().await? {
            let Some(log) = app.logs.get(&name).await? else { continue };
            let (theirs, ours) = (log.state().await?, registry.state().await?);
            let lost = theirs.parties().iter().find(|(id, party)| {
                let keys = [Some(party.root), party.governance];
                ours.parties().get(id).is_none()
                    || keys.into_iter().flatten().any(|k| theirs.chain(&k, true).next > ours.chain(&k, true).next)
            });
            if let Some((party, _)) = lost {
                tracing::error!(%party, collaboration = %name, "the registry lost statements about keys: it stays closed");
                return Ok(());
            }
        }
        let released: Result<bool, crate::ledger::LedgerError> =
            transaction!(app.db, tx => { hold::release(tx, HUB).await });
        released?;
        tracing::info!("the hub's own log takes entries again");
    }
    reconcile(app).await
}
