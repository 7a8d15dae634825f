//! How a log that came back from a backup hears its witnesses and opens again.

use allmende_core::id::PartyId;
use allmende_core::signature::PublicKey;

use super::fold::Inner;
use super::hold::{self, Waiting};
use super::log::{AppendError, Log};
use super::store::{self, LedgerError};
use crate::transaction;

/// What came of a node's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The log is open, and was.
    Open,
    /// This was the last word that it waited for.
    Opened,
    /// It still waits.
    Held(Waiting),
}

impl Log {
    pub(super) fn restored(&self, inner: &Inner, waiting: Waiting) -> AppendError {
        AppendError::Restored { log: self.name.clone(), size: inner.state.size(), waiting }
    }

    /// Whether the log still waits for its witnesses after a restore, and for which.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn held(&self) -> Result<Option<Waiting>, AppendError> {
        if self.inner.read().await.held.is_none() {
            return Ok(None);
        }
        self.look_again(&mut *self.inner.write().await).await
    }

    /// Refuses while the log waits for its witnesses.
    ///
    /// # Errors
    /// [`AppendError::Restored`].
    pub async fn require_open(&self) -> Result<(), AppendError> {
        match self.held().await? {
            Some(waiting) => Err(self.restored(&*self.inner.read().await, waiting)),
            None => Ok(()),
        }
    }

    /// Reads what another process may have changed: that the operator let the log go on, or brought entries back.
    pub(super) async fn look_again(&self, inner: &mut Inner) -> Result<Option<Waiting>, AppendError> {
        let mut snapshot = self.keeper.db.snapshot().await?;
        let held = hold::of(&mut snapshot, &self.name).await?;
        let size = store::head(&mut snapshot, &self.name).await?.map_or(0, |h| h.size);
        let reports = hold::reports(&mut snapshot, &self.name).await?;
        drop(snapshot);
        if size != inner.state.size() {
            inner.stale = true;
            self.refresh(inner).await?;
            self.grew(inner);
        }
        inner.held = held;
        Ok(held.map(|_| hold::waiting(inner.state.members().keys(), size, &reports)))
    }

    /// A node of `party` says that it has seen `size` entries. While the log is held this decides whether it opens.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn heard(&self, party: &PartyId, node: &PublicKey, size: u64) -> Result<Heard, AppendError> {
        if self.inner.read().await.held.is_none() {
            return Ok(Heard::Open);
        }
        let mut inner = self.inner.write().await;
        if self.look_again(&mut inner).await?.is_none() {
            return Ok(Heard::Open);
        }
        let said: Result<(), LedgerError> =
            transaction!(self.keeper.db, tx => { hold::report(tx, &self.name, node, party, size).await });
        said?;
        let ours = inner.state.size();
        if size > ours {
            tracing::error!(
                log = self.name, %party, theirs = size, ours,
                "a node has entries that this hub lost: bring them back with 'allmende ledger rebuild --from' and its mirror"
            );
        }
        let Some(waiting) = self.look_again(&mut inner).await? else { return Ok(Heard::Open) };
        if !waiting.is_over() {
            return Ok(Heard::Held(waiting));
        }
        let released: Result<bool, LedgerError> =
            transaction!(self.keeper.db, tx => { hold::release(tx, &self.name).await });
        released?;
        inner.held = None;
        tracing::info!(log = self.name, entries = ours, "every member was heard after the restore: the log is open");
        // Whoever waited for the log looks again.
        self.size.send_modify(|_| {});
        Ok(Heard::Opened)
    }
}
