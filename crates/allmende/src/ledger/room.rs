//! How full a log may get, and what still fits when it is full.

use allmende_core::state::State;
use allmende_core::statement::{Body, KeyClass, Opened, Scope, row};

use super::log::{AppendError, Log};

/// Entries past the limit that are kept for what ends well.
pub const RESERVE: u64 = 1_000;

impl Log {
    /// Refuses a statement for which the log has no room left.
    pub(super) fn require_room(&self, state: &State, opened: &Opened) -> Result<(), AppendError> {
        let max_entries = self.keeper.max_entries;
        let reserve = if ends_well(&opened.statement.body) { RESERVE } else { 0 };
        if state.size() < max_entries.saturating_add(reserve) {
            return Ok(());
        }
        Err(AppendError::Full { log: self.name.clone(), max_entries })
    }
}

/// Whether a statement may use the reserve: the hub's own close what members began, and nobody may be kept from revoking a
/// key, data or a consent by others who filled the log.
fn ends_well(body: &Body) -> bool {
    let by_rule = row(body.kind()).is_some_and(|row| row.scope == Scope::Keys || row.classes == [KeyClass::Hub]);
    // What is attested of repositories ends nothing, but for their being taken back.
    if matches!(body, Body::RepositoryPlaced(_) | Body::AccessGranted(_) | Body::ReadsCounted(_)) {
        return false;
    }
    by_rule || matches!(body, Body::AgreementWithdrawn(_) | Body::AssetRevoked(_) | Body::RunRefused(_))
}
