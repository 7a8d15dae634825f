//! `join`: pins a hub, registers the party there, lends the node its key.

use std::sync::Arc;

use allmende_core::digest::Digest;
use allmende_core::id::{Origin, PartyId};
use allmende_core::party::Party;
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::statement::{Body, KeyClass, KeyDelegated, PartyRegistered};
use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::member;
use super::table::fields;
use crate::client::home::{Home, HubPin};
use crate::client::http::{HubClient, Signer};
use crate::client::routes::LogName;
use crate::client::submit::{RemoteLog, Route};

/// Join a hub: pin its keys, register the organization, lend the node its key.
///
/// The hub's key, and its TLS pin where there is one, come from its operator by another way than this network: whoever
/// could change both could pass for the hub. A hub that is not open to everybody also asks for an invitation of its operator,
/// once. The command can be repeated; what is done already stays.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende join https://hub.example:8440 --hub-key ed25519:3b6a… --tls-pin sha256:9f86…"
)]
pub struct Join {
    /// Where the hub answers; not needed if 'init' named it
    url: Option<String>,
    /// The hub's key, as its operator told you
    #[arg(long, value_name = "KEY")]
    hub_key: PublicKey,
    /// SHA-256 of the hub's TLS public key; without it the system's authorities are trusted
    #[arg(long, value_name = "DIGEST")]
    tls_pin: Option<Digest>,
    /// The operator's invitation, where the hub asks for one
    #[arg(long, value_name = "CODE", env = "ALLMENDE_INVITATION", hide_env_values = true)]
    invitation: Option<String>,
}

#[derive(Serialize)]
struct Joined {
    party: String,
    hub: HubPin,
    registered: bool,
    node_key_delegated: bool,
}

impl Join {
    /// Runs the command.
    ///
    /// # Errors
    /// When the hub cannot be reached, is another one, or knows the name as somebody else's.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut home = context.home()?;
        let url = self.url.clone().or_else(|| home.settings().hub_url.clone());
        let url = url.or_else(|| home.hub().ok().map(|hub| hub.url.clone())).ok_or_else(|| {
            Failure::usage("which hub?").next("give its URL: allmende join https://hub.example:8440 --hub-key …")
        })?;
        if let Ok(pinned) = home.hub()
            && pinned.key != self.hub_key
        {
            return Err(Failure::new(
                Exit::Unreachable,
                format!("{} has joined a hub with the key {}", home.party(), pinned.key),
            )
            .code("hub.other")
            .next("use another --home for another hub"));
        }
        // The name is filled in once the hub has shown that it holds the key.
        let unknown: Origin = "unknown".parse().map_err(Failure::internal)?;
        let mut pin = HubPin { url, key: self.hub_key, name: unknown, tls_pin: self.tls_pin };
        let client = member::plain_client(context, &pin)?;
        pin.name = client.hub().await?.name.to_string().parse().map_err(Failure::internal)?;
        home.pin_hub(pin.clone())?;

        let registry = registry(context, &home, client)?;
        registry.catch_up().await?;
        let registered = register(context, &home, &registry, self.invitation.as_deref()).await?;
        let delegated = delegate(context, &home, &registry).await?;
        // The proof that all of it works: a sign-in with the node's key.
        member::names(&member::reading_client(context, &home)?).await?;

        let joined = Joined { party: home.party().to_string(), hub: pin, registered, node_key_delegated: delegated };
        context.out.result(&joined, || {
            let mut text = fields([
                ("party", joined.party.clone()),
                ("hub", format!("{} ({})", joined.hub.name, joined.hub.url)),
                ("hub key", joined.hub.key.to_string()),
                ("node", format!("{} may work for {}", home.settings().node, joined.party)),
            ]);
            text.push_str(
                "\nNext: allmende collaboration list, or found one with allmende collaboration propose.\n\
                 Move root.key and recovery.key off this machine now.\n",
            );
            text
        })
    }
}

/// The hub's log of parties and keys, over the member's verified copy.
///
/// # Errors
/// When the copy was altered.
pub fn registry(context: &Context, home: &Home, client: HubClient) -> Result<RemoteLog, Failure> {
    Ok(RemoteLog::new(Arc::new(client), member::mirror(context, home, &LogName::Hub)?))
}

/// The party's keys as the registry has them now.
///
/// # Errors
/// When the party is not registered.
pub fn registered(registry: &RemoteLog, party: &PartyId) -> Result<Party, Failure> {
    registry.mirror().state().parties().get(party).cloned().ok_or_else(|| {
        Failure::usage(format!("{party} is not registered on this hub"))
            .code("party.unknown")
            .next("register with 'allmende join'")
    })
}

/// Signs a statement about the party's own keys and brings it to its place in the hub's log.
///
/// # Errors
/// When the hub refuses it or cannot be reached.
pub async fn submit(
    home: &Home,
    registry: &RemoteLog,
    class: KeyClass,
    key: SecretKey,
    body: impl Into<Body>,
) -> Result<(), Failure> {
    let signer = Signer { party: home.party().clone(), class, key: Arc::new(key) };
    registry.submit(&signer, body, None).await?;
    registry.catch_up().await?;
    Ok(())
}

/// Registers the party, unless it is. Says whether it had to.
async fn register(context: &Context, home: &Home, log: &RemoteLog, invitation: Option<&str>) -> Result<bool, Failure> {
    if let Ok(party) = registered(log, home.party()) {
        // Without the root key on this machine the governance key must do: it has to be the party's.
        let ours = match home.key_file(KeyClass::Root) {
            Ok(file) => file.public == party.root,
            Err(_) => home.key_file(KeyClass::Governance).is_ok_and(|file| Some(file.public) == party.governance),
        };
        return if ours { Ok(false) } else { Err(taken(home.party())) };
    }
    let body = PartyRegistered {
        party: home.party().clone(),
        root: home.key_file(KeyClass::Root)?.public,
        governance: home.key_file(KeyClass::Governance)?.public,
        recovery: home.key_file(KeyClass::Recovery).ok().map(|file| Digest::of(file.public.as_bytes())),
    };
    let key = Arc::new(context.key(home, KeyClass::Root)?);
    let signer = Signer { party: home.party().clone(), class: KeyClass::Root, key };
    log.submit_by(Route::Register { invitation }, &signer, &body.into(), None).await?;
    log.catch_up().await?;
    Ok(true)
}

/// Lends the node on this machine its key, unless it has it. Says whether it had to.
async fn delegate(context: &Context, home: &Home, log: &RemoteLog) -> Result<bool, Failure> {
    let key = home.key_file(KeyClass::Node)?.public;
    if registered(log, home.party())?.nodes.contains_key(&key) {
        return Ok(false);
    }
    let body = KeyDelegated { key, node: home.settings().node.clone() };
    submit(home, log, KeyClass::Governance, context.key(home, KeyClass::Governance)?, body).await?;
    Ok(true)
}

fn taken(party: &PartyId) -> Failure {
    Failure::new(Exit::Refused, format!("'{party}' is taken on this hub, with other keys"))
        .code("party.exists")
        .next("make another folder with another name: allmende init --party NAME --home DIR")
}
