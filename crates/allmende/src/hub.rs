//! The hub as a whole: the one place that knows all nouns and puts them together.

use crate::app::{App, Nouns, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::exchange::webhooks;
use crate::repo::{moving, reads};
use crate::{backup, mirror, node, party, run};

mod housekeeping;
mod lookout;

pub use housekeeping::{Swept, sweep};

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
    let signed = app.logs.registry().await?.state().await?.hub_key();
    let here = app.hub_key.public();
    if let Some(signed) = signed.filter(|signed| *signed != here) {
        return Err(StartError::OtherKey { path: app.config.hub_key_path(), here, signed });
    }
    party::reconcile(&app).await?;
    run::conduct_all(&app).await?;
    app.tasks.spawn(lookout::keep(app.clone()));
    app.tasks.spawn(housekeeping::keep(app.clone()));
    app.tasks.spawn(webhooks::keep(app.clone()));
    app.tasks.spawn(mirror::sync::keep(app.clone()));
    app.tasks.spawn(reads::keep(app.clone()));
    app.tasks.spawn(moving::keep(app.clone()));
    node::outside::ask_all(&app)?;
    if app.config.export_tiles {
        app.tasks.spawn(backup::keep(app.clone()));
    }
    Ok(app)
}
