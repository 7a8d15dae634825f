//! The hub as a whole: the one place that knows all nouns and puts them together.

use std::time::Duration;

use crate::app::{App, Nouns, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::{backup, node, party, run};

/// How often unfinished uploads are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// Opens a hub and takes up whatever was under way.
///
/// # Errors
/// [`StartError`] says what is in the way.
pub async fn open(config: Config, clock: Clock) -> Result<App, StartError> {
    let nouns = Nouns {
        keys: Box::new(party::Directory),
        consequence: run::consequence,
        prepare: run::prepare,
        conduct: run::conduct,
    };
    let app = App::start(config, clock, nouns).await?;
    backup::look(&app).await?;
    app.logs.registry().await?;
    party::reconcile(&app).await?;
    run::conduct_all(&app).await?;
    node::outside::ask_all(&app)?;
    app.tasks.spawn(sweep(app.clone()));
    if app.config.export_tiles {
        app.tasks.spawn(backup::keep(app.clone()));
    }
    Ok(app)
}

async fn sweep(app: App) {
    while !app.closing.is_cancelled() {
        match run::upload::sweep(&app).await {
            Ok(0) => {}
            Ok(swept) => tracing::info!(swept, "uploads that were never sealed are gone"),
            Err(error) => tracing::warn!(%error, "uploads were not swept"),
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = app.closing.cancelled() => {}
        }
    }
}
