//! The lookout: hears what other processes of the same hub did on the same database.
//!
//! Requests look for themselves; this wakes those who wait. It asks the database a few times each second instead of being
//! told, so that it is the same on every database and misses nothing while a connection is down.

use std::collections::HashMap;
use std::time::Duration;

use allmende_core::statement::HUB;

use crate::app::App;
use crate::error::ApiError;
use crate::ledger::store::{self, Pulse};
use crate::run;

/// How often the database is asked: the longest that news from another process waits.
const EVERY: Duration = Duration::from_millis(400);

/// Looks out until the hub stops.
pub(super) async fn keep(app: App) {
    let mut seen = HashMap::new();
    let mut failing = false;
    while !app.closing.is_cancelled() {
        let looked = look(&app, &mut seen).await;
        if let Err(error) = &looked
            && !failing
        {
            tracing::warn!(?error, "what other processes of this hub do is not heard until this passes");
        }
        failing = looked.is_err();
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = app.closing.cancelled() => {}
        }
    }
}

/// Takes in whatever changed since `seen`.
async fn look(app: &App, seen: &mut HashMap<String, Pulse>) -> Result<(), ApiError> {
    let pulses = store::pulses(&mut *app.db.read().await?).await?;
    for (name, now) in pulses {
        let before = seen.get(&name).copied().unwrap_or_default();
        if before.size != now.size {
            if name == HUB {
                app.logs.registry().await?;
            } else if let Ok(collaboration) = name.parse()
                && let Some(log) = app.logs.get(&collaboration).await?
            {
                // Another process may have founded it, and be gone tomorrow.
                run::conduct(app, &log);
            }
        }
        if before.cosigned != now.cosigned {
            app.witnessed.notify(&name);
        }
        seen.insert(name, now);
    }
    Ok(())
}
