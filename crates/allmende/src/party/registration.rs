//! A party's first statement, and who may bring one.

use std::sync::Arc;

use allmende_core::ledger::envelope::Envelope;
use allmende_core::statement::{Body, Opened};

use crate::app::App;
use crate::config::RegistrationMode;
use crate::error::{ApiError, Code};
use crate::invitations::{self, InvitationError};
use crate::ledger::{Appended, Log};
use crate::transaction;

/// Registers the party of `opened`, whose envelope is `envelope`. On a hub that is not open it takes an invitation; who is
/// registered already needs none.
///
/// # Errors
/// [`Code::InvitationNeeded`], [`Code::InvitationRefused`], or what the rules refuse.
pub async fn register(
    app: &App,
    opened: &Opened,
    envelope: Envelope,
    invitation: Option<&str>,
) -> Result<(Arc<Log>, Appended), ApiError> {
    let Body::PartyRegistered(body) = &opened.statement.body else {
        return Err(ApiError::new(Code::Unprocessable, "only party.registered is taken here"));
    };
    let party = &opened.statement.header.by.party;
    let known = app.logs.registry().await?.state().await?.parties().contains_key(party);
    if app.config.registration_mode() == RegistrationMode::Invited && !known {
        let code = invitation.ok_or(InvitationError::Needed)?;
        let now = app.clock.now();
        // Before the party stands in the log, so that no crash lets a code be used once more than it may. A statement that
        // the rules refuse leaves the code to this party and key, which may bring a better one.
        let taken: Result<(), InvitationError> =
            transaction!(app.db, tx => { invitations::take(tx, code, party, &body.root, now).await });
        taken?;
    }
    Ok(super::record(app, party, envelope).await?)
}
