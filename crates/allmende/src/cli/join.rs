//! `join`: pins a hub, registers the party there, lends the node its key.

use std::sync::Arc;

use allmende_core::digest::Digest;
use allmende_core::id::{Origin, PartyId};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::statement::{Body, Header, KeyClass, KeyDelegated, PartyRegistered, Signer as By, Statement};
use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::member;
use super::table::fields;
use crate::client::home::{Home, HubPin};
use crate::client::http::{HubClient, Signer};
use crate::client::routes::LogName;
use crate::client::submit::origin_of;

/// Join a hub: pin its keys, register the organization, lend the node its key.
///
/// The hub's key, and its TLS pin where there is one, come from its operator by another way than this network: whoever
/// could change both could pass for the hub. The command can be repeated; what is done already stays.
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

        let me = home.party().clone();
        let registered = self.register(context, &home, &client).await?;
        // From here on the governance key can sign in, and what the hub knows of the party can be asked.
        let governance = Arc::new(context.key(&home, KeyClass::Governance)?);
        let signer = Signer { party: me.clone(), class: KeyClass::Governance, key: Arc::clone(&governance) };
        let client = member::plain_client(context, &pin)?.signed_in_as(signer);
        let view = client.party(&me).await?;
        if home.key_file(KeyClass::Root).is_ok_and(|file| file.public != view.root) {
            return Err(taken(&me));
        }
        let node = home.key_file(KeyClass::Node)?.public;
        let known = view.nodes.contains_key(&node);
        if !known {
            let body = KeyDelegated { key: node, node: home.settings().node.clone() };
            submit(context, &home, &client, KeyClass::Governance, &governance, &view.history, body.into()).await?;
        }
        // The proof that all of it works: a sign-in with the node's key.
        member::names(&member::reading_client(context, &home)?).await?;

        let joined = Joined { party: home.party().to_string(), hub: pin, registered, node_key_delegated: !known };
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

impl Join {
    /// Registers the party, unless it is. Says whether it had to.
    async fn register(&self, context: &Context, home: &Home, hub: &HubClient) -> Result<bool, Failure> {
        let Ok(root) = home.key_file(KeyClass::Root) else {
            context.out.note("The root key is not here: the party is taken to be registered already.");
            return Ok(false);
        };
        let key = context.key(home, KeyClass::Root)?;
        let body = PartyRegistered {
            party: home.party().clone(),
            root: root.public,
            governance: home.key_file(KeyClass::Governance)?.public,
            recovery: home.key_file(KeyClass::Recovery).ok().map(|file| Digest::of(file.public.as_bytes())),
        };
        match submit(context, home, hub, KeyClass::Root, &key, &[], body.into()).await {
            Ok(()) => Ok(true),
            // Whether it is ours shows when the governance key signs in.
            Err(failure) if matches!(failure.code.as_deref(), Some("party.exists" | "statement.sequence")) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

fn taken(party: &PartyId) -> Failure {
    Failure::new(Exit::Refused, format!("'{party}' is taken on this hub, with another root key"))
        .code("party.exists")
        .next("make another folder with another name: allmende init --party NAME --home DIR")
}

/// Signs a statement about the party's own keys and sends it to the hub's log of parties and keys. `history` is what
/// stands there of the party already.
///
/// # Errors
/// When the hub refuses it or cannot be reached.
pub async fn submit(
    context: &Context,
    home: &Home,
    hub: &HubClient,
    class: KeyClass,
    key: &SecretKey,
    history: &[Envelope],
    body: Body,
) -> Result<(), Failure> {
    let opened = history.iter().map(Statement::open).collect::<Result<Vec<_>, _>>().map_err(Failure::internal)?;
    // A wrong history can only lead to a statement that the log refuses.
    let last = opened.iter().rfind(|statement| statement.key == key.public());
    let registers = matches!(body, Body::PartyRegistered(_));
    let header = Header {
        origin: origin_of(&home.hub()?.name, &LogName::Hub)?,
        collaboration: None,
        agreement: None,
        by: By { party: home.party().clone(), class },
        seq: last.map_or(0, |last| last.statement.header.seq + 1),
        previous: last.map(|last| last.digest),
        claimed_at: context.now(),
    };
    let envelope = Statement { header, body }.seal(key).map_err(Failure::internal)?;
    if registers {
        hub.register_party(envelope).await?;
    } else {
        hub.submit_key(envelope).await?;
    }
    Ok(())
}
