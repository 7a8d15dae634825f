//! A member's node. It calls out and is called by nobody; it acts on its own verified copy of the log and on nothing that
//! the hub merely says; it lists what leaves before it leaves; and its owner can stop it in an instant.
//!
//! One loop for each collaboration ([`serve`]): sync → mirror → cosign → count the witnesses → fold the acting state →
//! judge each offer ([`checks`]) → work ([`work`]). The log is the only memory of what was done: after `kill -9` at any
//! instant the same questions give the same answers, and a half-sent update goes on where it stopped.
//!
//! The node's folder: `node.toml`, `mirror/<collaboration>/`, `outbox/`, `models/`, `work/`, `alarms.jsonl`, `halted/`,
//! `stop`, `waiting/`, `answers/`.

pub mod alarms;
pub mod checks;
pub mod control;
pub mod data;
pub mod outbox;
pub mod owner;
pub mod preview;
pub mod serve;
pub mod settings;
pub mod witness;
pub mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use allmende_core::id::{CollaborationId, Label, Origin, PartyId};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::statement::KeyClass;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::error::ClientError;
use crate::client::http::{HubClient, Signer, pause};
use crate::clock::Clock;
use crate::tls::Trust;
use alarms::Alarms;
use control::{Control, ControlError, Stop};
use outbox::{Outbox, OutboxError};
use serve::{Service, Shared};
use settings::{Settings, SettingsError};
use work::{Desk, Tools};

/// How often the node looks for collaborations that its party has joined since.
const DISCOVER_EVERY: Duration = Duration::from_secs(15);
/// How long a stopping node may take to say so.
const FAREWELL: Duration = Duration::from_secs(10);
/// Most collaborations that one node serves.
const MAX_COLLABORATIONS: usize = 256;

/// All that a node is started with.
pub struct Options {
    /// The node's folder.
    pub dir: PathBuf,
    /// Where the owner's commands keep their verified copies of the logs, if on this machine: the node acts on no older log
    /// than its owner saw.
    pub copies: Option<PathBuf>,
    /// Where the hub is.
    pub url: String,
    /// How its TLS is trusted.
    pub trust: Trust,
    /// The hub's name, with which the origins of its logs begin.
    pub hub: Origin,
    /// The hub's pinned key.
    pub hub_key: PublicKey,
    /// Whose node it is.
    pub party: PartyId,
    /// The node's name, as its key was delegated.
    pub node: Label,
    /// The node's key.
    pub key: Arc<SecretKey>,
    /// The clock to go by.
    pub clock: Clock,
    /// Start although the owner stopped the node before.
    pub resume: bool,
}

/// Why a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The program was told to end.
    Shutdown,
    /// The owner stopped the node.
    Stopped(Stop),
}

/// Why a node could not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The owner stopped it.
    #[error("the owner stopped this node")]
    Stopped,
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The journal.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A file between owner and node.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The hub.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Another hub answers under the same key.
    #[error("the hub calls itself {got}, not {pinned}")]
    OtherName {
        /// The name that was pinned.
        pinned: Origin,
        /// What it says now.
        got: Origin,
    },
}

/// Runs the node until `shutdown`, or until its owner stops it.
///
/// # Errors
/// [`AgentError`] when it cannot start; once it runs it goes on through any failure of hub and network.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<Ended, AgentError> {
    let control = Control::new(&options.dir);
    if control.stopped().is_some() {
        if !options.resume {
            return Err(AgentError::Stopped);
        }
        control.resume()?;
    }
    let settings = Arc::new(Settings::load(&options.dir)?);
    let outbox = Arc::new(Outbox::open(&options.dir.join("outbox"), options.clock.clone())?);
    let signer = Signer { party: options.party.clone(), class: KeyClass::Node, key: Arc::clone(&options.key) };
    let client = HubClient::connect(&options.url, &options.trust, Some(options.hub_key), options.clock.clone())?;
    let client = Arc::new(client.signed_in_as(signer.clone()).through(outbox.clone()));
    let cancel = CancellationToken::new();
    let tools = Tools {
        desk: Arc::new(Desk::new(&options.dir)),
        settings: Arc::clone(&settings),
        outbox: Arc::clone(&outbox),
        signer,
        cancel: cancel.clone(),
    };
    let shared = Arc::new(Shared {
        alarms: Alarms::new(&options.dir),
        control: control.clone(),
        permits: Semaphore::new(settings.policy.jobs as usize),
        dir: options.dir.clone(),
        copies: options.copies.clone(),
        hub: options.hub.clone(),
        hub_key: options.hub_key,
        node: options.node.clone(),
        clock: options.clock.clone(),
        client,
        tools,
    });
    let mut services = BTreeMap::new();
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ended::Shutdown,
        stop = control.watch() => {
            // The gate falls before anything else happens.
            if stop.silent { outbox.close() } else { outbox.farewell() }
            Ended::Stopped(stop)
        }
        error = supervise(&shared, &mut services) => return Err(error),
    };
    cancel.cancel();
    if let Ended::Stopped(Stop { silent: false }) = ended {
        let goodbyes = services.values().map(|service| service.farewell());
        if tokio::time::timeout(FAREWELL, futures::future::join_all(goodbyes)).await.is_err() {
            tracing::warn!("the hub could not be told in time that this node stopped");
        }
    }
    outbox.close();
    Ok(ended)
}

/// Keeps a service for every collaboration. Returns only when the hub is not the one that was pinned.
async fn supervise(shared: &Arc<Shared>, services: &mut BTreeMap<CollaborationId, Arc<Service>>) -> AgentError {
    if let Err(error) = greet(shared).await {
        return error;
    }
    // Dropped with this future, and every service with it.
    let mut running: JoinSet<CollaborationId> = JoinSet::new();
    loop {
        match wanted(shared).await {
            Ok(wanted) => {
                for id in wanted {
                    if services.len() >= MAX_COLLABORATIONS
                        || services.contains_key(&id)
                        || shared.alarms.is_halted(&id)
                    {
                        continue;
                    }
                    let Some(service) = Service::open(Arc::clone(shared), id.clone()).await else { continue };
                    services.insert(id.clone(), Arc::clone(&service));
                    running.spawn(async move {
                        service.run().await;
                        id
                    });
                }
            }
            Err(error) => tracing::warn!(code = error.code(), %error, "the collaborations could not be listed"),
        }
        let pause = tokio::time::sleep(DISCOVER_EVERY);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(ended) = running.join_next() => match ended {
                    Ok(id) => drop(services.remove(&id)),
                    Err(error) => tracing::error!(%error, "a service ended"),
                },
            }
        }
    }
}

/// Waits until the hub answers, and makes sure that it is the right one.
async fn greet(shared: &Shared) -> Result<(), AgentError> {
    let mut attempt = 1;
    loop {
        match shared.client.hub().await {
            Ok(hub) if hub.name == shared.hub => return Ok(()),
            Ok(hub) => return Err(AgentError::OtherName { pinned: shared.hub.clone(), got: hub.name }),
            Err(error @ (ClientError::OtherHub { .. } | ClientError::Protocol { .. })) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(code = error.code(), %error, "the hub does not answer");
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
        }
    }
}

/// The collaborations to serve: those that the settings list, or all of which the hub says that the party is a member. The
/// hub's word only says where to look; the log itself says who is a member.
async fn wanted(shared: &Shared) -> Result<Vec<CollaborationId>, ClientError> {
    let listed = &shared.tools.settings.collaborations;
    if !listed.is_empty() {
        return Ok(listed.clone());
    }
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MAX_COLLABORATIONS {
        let page = shared.client.collaborations(after.as_deref()).await?;
        found.extend(page.items.into_iter().filter(|c| c.members.contains(&shared.tools.signer.party)).map(|c| c.id));
        match page.next {
            Some(next) if found.len() < MAX_COLLABORATIONS => after = Some(next),
            _ => break,
        }
    }
    found.truncate(MAX_COLLABORATIONS);
    Ok(found)
}
