//! How a log in memory follows what other processes of the same hub append to the same database.
//!
//! Whoever is asked something looks first ([`Logs::get`](super::Logs::get)): one process must not show less than another has
//! acknowledged, or its clients would take the log for rolled back. Whoever appends looks too, and the transaction compares
//! once more.

use super::fold::{self, Inner};
use super::log::{AppendError, Log};
use super::store;

impl Log {
    /// Brings the state up to what stands in the database, whoever appended it.
    ///
    /// # Errors
    /// [`AppendError`] when it cannot be read.
    pub async fn catch_up(&self) -> Result<(), AppendError> {
        let size = self.stored_size().await?;
        {
            let inner = self.inner.read().await;
            if !inner.stale && inner.state.size() >= size {
                return Ok(());
            }
        }
        self.follow(&mut *self.inner.write().await).await
    }

    async fn stored_size(&self) -> Result<u64, AppendError> {
        Ok(store::size(&mut *self.keeper.db.read().await?, &self.name).await?)
    }

    /// As [`Self::catch_up`], for whoever holds the lock: only the entries that are new are read.
    pub(super) async fn follow(&self, inner: &mut Inner) -> Result<(), AppendError> {
        if !inner.stale {
            let (size, ours) = (self.stored_size().await?, inner.state.size());
            if size == ours {
                return Ok(());
            }
            // Until it is done: whoever gives up in the middle leaves a state that fits no checkpoint.
            inner.stale = true;
            if size > ours && fold::read_on(&self.keeper.db, &self.name, inner).await.is_ok() {
                inner.stale = false;
                // What another process brought in may be later than what this one's clock has told.
                self.keeper.clock.raise(inner.state.last_arrival());
            }
        }
        self.refresh(inner).await?;
        self.grew(inner);
        Ok(())
    }
}
