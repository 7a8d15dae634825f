//! Collaborations on the hub: founding them, taking their members' statements, and giving their logs out.

pub mod api;
mod log_api;

use std::sync::Arc;

use allmende_core::id::{CollaborationId, PartyId};
use allmende_core::state::State;

use crate::app::App;
use crate::error::ApiError;
use crate::ledger::Log;

/// Whether a party may read a collaboration's log: its members, and whoever is asked to join or to sign.
#[must_use]
pub fn may_read(state: &State, party: &PartyId) -> bool {
    state.members().contains_key(party) || state.may_join(party)
}

/// The log of a collaboration that the party may read. To everybody else it does not exist.
///
/// # Errors
/// [`crate::error::Code::NotFound`].
pub async fn readable(app: &App, collaboration: &CollaborationId, party: &PartyId) -> Result<Arc<Log>, ApiError> {
    let missing = || ApiError::not_found(format!("collaboration {collaboration}"));
    let log = app.logs.get(collaboration).await?.ok_or_else(missing)?;
    if may_read(&*log.state().await?, party) { Ok(log) } else { Err(missing()) }
}
