//! `serve`: the hub.

use clap::Args;
use serde::Serialize;
use tokio::net::TcpListener;

use super::config::SettingsArgs;
use super::context::Context;
use super::failure::{Exit, Failure};
use crate::config::RegistrationMode;
use crate::logs::LogError;

/// Run a hub until it is told to stop.
///
/// The first start makes the folder, the hub's key and its certificate. It prints where it listens and the line with
/// which organizations join; hand that line out by another way than this network. On SIGTERM or Ctrl-C open requests may
/// finish.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende serve --name hub.example --listen 0.0.0.0:8440 --data-dir /srv/allmende"
)]
pub struct Serve {
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Serialize)]
struct Serving {
    url: String,
    name: String,
    hub_key: String,
    tls_pin: Option<String>,
    join: String,
    invited_only: bool,
    data_dir: String,
}

impl Serve {
    /// Runs the command.
    ///
    /// # Errors
    /// When the hub cannot start.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = self.settings.layers()?.build()?;
        crate::logs::begin(&config)?;
        let stop = crate::server::stop_signal().map_err(Failure::internal)?;
        let (data_dir, listen) = (config.data_dir.clone(), config.listen);
        let app = crate::hub::open(config, context.clock().clone()).await.map_err(|e| {
            Failure::new(Exit::Failure, format!("the hub cannot start: {e}"))
                .next(format!("look into {}, or choose another --data-dir", data_dir.display()))
        })?;
        let listener = TcpListener::bind(listen).await.map_err(|e| {
            Failure::new(Exit::Failure, format!("cannot listen on {listen}: {e}"))
                .next("choose another --listen address, or stop what listens there")
        })?;
        let address = listener.local_addr().map_err(Failure::internal)?;
        let scheme = if app.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        let key = app.hub_key.public();
        let pin = app.tls.as_ref().map(|tls| tls.pin.to_string());
        let mut join = format!("allmende join {url} --hub-key {key}");
        if let Some(pin) = &pin {
            join.push_str(&format!(" --tls-pin {pin}"));
        }
        let serving = Serving {
            url,
            name: app.config.name.clone(),
            hub_key: key.to_string(),
            tls_pin: pin,
            join,
            invited_only: app.config.registration_mode() == RegistrationMode::Invited,
            data_dir: data_dir.display().to_string(),
        };
        context.out.result(&serving, || {
            let invitation = if serving.invited_only {
                "and '--invitation CODE', a code for each from 'allmende invitation create'.\n"
            } else {
                ""
            };
            format!(
                "Hub '{}' at {}\nhub key   {}\ndata      {}\nOrganizations join with:\n  {}\n{invitation}",
                serving.name, serving.url, serving.hub_key, serving.data_dir, serving.join
            )
        })?;
        crate::server::serve(app, listener, stop).await;
        context.out.note("The hub has stopped.");
        Ok(())
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::usage(error.to_string()).code("config").next("write the filter like info,allmende=debug")
    }
}
