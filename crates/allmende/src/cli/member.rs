//! A member at work: its folder, its hub, and its own verified copy of a collaboration's log.

use std::path::PathBuf;
use std::sync::Arc;

use allmende_core::agreement::terms::Terms;
use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, DecisionId, RunId};
use allmende_core::signature::SecretKey;
use allmende_core::state::runs::Run;
use allmende_core::state::{Agreement, AgreementStatus, State};
use allmende_core::statement::{Body, CollaborationProposed, HUB, KeyClass};

use super::context::Context;
use super::failure::{Exit, Failure};
use crate::api::Placed;
use crate::client::error::ClientError;
use crate::client::home::{Home, HubPin};
use crate::client::http::{HubClient, Signer};
use crate::client::mirror::{Mirror, MirrorError};
use crate::client::routes::LogName;
use crate::client::store::StoreError;
use crate::client::submit::{RemoteLog, origin_of};
use crate::tls::Trust;

/// How often a request is repeated before a person is told.
const ATTEMPTS: u32 = 3;
/// How long a command's token lives, in seconds: hundreds of commands in an hour must not fill the party's number of tokens.
const TOKEN_LIFETIME_S: i64 = 180;

/// A client of the hub, without sign-in.
///
/// # Errors
/// When the URL is none, or TLS cannot be set up.
pub fn plain_client(context: &Context, hub: &HubPin) -> Result<HubClient, Failure> {
    let trust = hub.tls_pin.map_or(Trust::System, Trust::Pin);
    let client = HubClient::connect(&hub.url, &trust, Some(hub.key), context.clock().clone())?;
    Ok(client.attempts(ATTEMPTS).token_lifetime_s(TOKEN_LIFETIME_S))
}

/// A client that signs in with the node's key, which needs no passphrase and may read everything the party may.
///
/// # Errors
/// As [`plain_client`], and when the node's key cannot be read.
pub fn reading_client(context: &Context, home: &Home) -> Result<HubClient, Failure> {
    let key = Arc::new(home.node_key()?);
    let signer = Signer { party: home.party().clone(), class: KeyClass::Node, key };
    Ok(plain_client(context, home.hub()?)?.signed_in_as(signer))
}

/// The verified copy of a log, as far as it was fetched.
///
/// # Errors
/// When the folder was altered.
pub fn mirror(context: &Context, home: &Home, log: &LogName) -> Result<Mirror, Failure> {
    let hub = home.hub()?;
    let origin = origin_of(&hub.name, log)?;
    let collaboration = log.collaboration().cloned();
    let dir = home.mirror_dir().join(log.as_str());
    match Mirror::open(&dir, origin.clone(), collaboration.clone(), hub.key) {
        // Another command is at it; a copy in memory says the same, it only has to be fetched.
        Err(MirrorError::Store(StoreError::InUse { .. })) => {
            context.out.note("another command uses the copy of the log; reading it anew from the hub");
            Ok(Mirror::memory(origin, collaboration, hub.key))
        }
        other => Ok(other?),
    }
}

/// The copy of the chosen collaboration's log, or of the only one there is, as it lies on disk: no hub is asked.
#[must_use]
pub fn copy_on_disk(context: &Context, home: &Home) -> Option<PathBuf> {
    let dir = home.mirror_dir();
    if let Some(chosen) = &context.global.collaboration {
        return Some(dir.join(chosen.as_str())).filter(|copy| copy.is_dir());
    }
    let all = std::fs::read_dir(&dir).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let mut copies = all.filter(|copy| copy.is_dir() && copy.file_name().is_some_and(|name| name != HUB));
    copies.next().filter(|_| copies.next().is_none())
}

/// A member, in one collaboration.
pub struct Member<'c> {
    /// The command's context.
    pub context: &'c Context,
    /// The organization's folder.
    pub home: Home,
    /// The collaboration.
    pub collaboration: CollaborationId,
    /// Its log, verified.
    pub log: RemoteLog,
    /// What the log said when it was last looked at.
    state: State,
    governance: Option<Arc<SecretKey>>,
}

impl<'c> Member<'c> {
    /// Opens the chosen collaboration, or the only one, as of now.
    ///
    /// # Errors
    /// When there is no organization here, no such collaboration, or no hub that answers.
    pub async fn open(context: &'c Context) -> Result<Self, Failure> {
        let home = context.home()?;
        let hub = reading_client(context, &home)?;
        let collaboration = choose(context, &home, &hub).await?;
        Self::enter(context, home, hub, collaboration).await
    }

    /// Opens this collaboration.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn enter(
        context: &'c Context,
        home: Home,
        hub: HubClient,
        collaboration: CollaborationId,
    ) -> Result<Self, Failure> {
        let name = LogName::Collaboration(collaboration.clone());
        if !home.mirror_dir().join(name.as_str()).join("checkpoint").exists() {
            // Nothing of a name that is mistyped shall stay behind.
            hub.checkpoint(&name).await.map_err(|e| unknown(e, &collaboration))?;
        }
        let mirror = mirror(context, &home, &name)?;
        let state = mirror.state().clone();
        let log = RemoteLog::new(Arc::new(hub), mirror);
        let mut member = Self { context, home, collaboration, log, state, governance: None };
        member.refresh().await?;
        Ok(member)
    }

    /// Founds a collaboration and opens it.
    ///
    /// # Errors
    /// When the name is taken, or the hub cannot be reached.
    pub async fn found(
        context: &'c Context,
        home: Home,
        collaboration: CollaborationId,
        body: CollaborationProposed,
    ) -> Result<Self, Failure> {
        let hub = Arc::new(reading_client(context, &home)?);
        let name = LogName::Collaboration(collaboration.clone());
        let mut member = {
            // In memory until it stands: a name that is taken must leave nothing behind.
            let log = RemoteLog::in_memory(Arc::clone(&hub), &home.hub()?.name, &name)?;
            let state = log.mirror().state().clone();
            Self { context, home, collaboration, log, state, governance: None }
        };
        let signer = member.signer()?;
        member.log.submit(&signer, body, None).await?;
        let mut kept = RemoteLog::new(hub, mirror(context, &member.home, &name)?);
        std::mem::swap(&mut member.log, &mut kept);
        member.refresh().await?;
        Ok(member)
    }

    /// Takes in what happened since.
    ///
    /// # Errors
    /// When the hub cannot be reached, or the log misbehaves.
    pub async fn refresh(&mut self) -> Result<(), Failure> {
        let spinner = self.context.out.spinner("verifying the log");
        let caught_up = self.log.catch_up().await;
        spinner.finish_and_clear();
        caught_up?;
        self.state = self.log.mirror().state().clone();
        Ok(())
    }

    /// As [`Self::refresh`], without a sign of life of its own.
    ///
    /// # Errors
    /// As [`Self::refresh`].
    pub async fn follow(&mut self) -> Result<(), Failure> {
        self.log.catch_up().await?;
        let mirror = self.log.mirror();
        if mirror.entries() > self.state.size() {
            self.state = mirror.state().clone();
        }
        Ok(())
    }

    /// What the log says, computed here.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The hub, signed in with the node's key.
    #[must_use]
    pub fn hub(&self) -> &HubClient {
        self.log.client()
    }

    /// The party, in the capacity that signs terms and votes; the passphrase is asked for once.
    ///
    /// # Errors
    /// When the key is not here or the passphrase is wrong.
    pub fn signer(&mut self) -> Result<Signer, Failure> {
        let key = match &self.governance {
            Some(key) => Arc::clone(key),
            None => Arc::new(self.context.key(&self.home, KeyClass::Governance)?),
        };
        self.governance = Some(Arc::clone(&key));
        Ok(Signer { party: self.home.party().clone(), class: KeyClass::Governance, key })
    }

    /// Signs a statement with the governance key and brings it to its place in the log. Under which agreement it is made
    /// is found where it can be; `agreement` says it otherwise.
    ///
    /// # Errors
    /// When the rules refuse it, or the hub cannot be reached.
    pub async fn sign(&mut self, body: impl Into<Body>, agreement: Option<Digest>) -> Result<Placed, Failure> {
        let signer = self.signer()?;
        let placed = self.log.submit(&signer, body, agreement).await?;
        // What the hub itself adds, such as the outcome of a vote, follows within moments.
        self.refresh().await?;
        Ok(placed)
    }

    /// The hub, signed in with the governance key: only it may upload an asset's bytes.
    ///
    /// # Errors
    /// As [`Self::signer`].
    pub fn writing_hub(&mut self) -> Result<HubClient, Failure> {
        let signer = self.signer()?;
        Ok(plain_client(self.context, self.home.hub()?)?.signed_in_as(signer))
    }

    /// The run of this name.
    ///
    /// # Errors
    /// [`Exit::Usage`] when there is none.
    pub fn run(&self, id: &RunId) -> Result<&Run, Failure> {
        self.state().runs().get(id).ok_or_else(|| {
            let known: Vec<_> = self.state().runs().keys().map(ToString::to_string).collect();
            Failure::usage(format!("there is no run '{id}' in {}", self.collaboration))
                .code("run.unknown")
                .next(one_of(&known, "propose one with 'allmende run propose'"))
        })
    }

    /// The terms that a person means: `current`, `offered`, or the first digits of their digest.
    ///
    /// # Errors
    /// [`Exit::Usage`] when none or several fit.
    pub fn agreement(&self, which: &str) -> Result<(Digest, &Agreement), Failure> {
        let now = self.context.now();
        let wanted = which.strip_prefix("sha256:").unwrap_or(which);
        let fits = |digest: &Digest, a: &Agreement| match which {
            "current" => a.is_in_force(now),
            "offered" => a.status == AgreementStatus::Offered,
            _ => wanted.len() >= 4 && digest.hex().starts_with(wanted),
        };
        let found: Vec<_> = self.state().agreements().iter().filter(|(d, a)| fits(d, a)).collect();
        let failure = match found.as_slice() {
            [(digest, agreement)] => return Ok((**digest, agreement)),
            [] => match which {
                "current" => Failure::new(Exit::Refused, "no agreement is in force").code("agreement.not-in-force"),
                "offered" => Failure::usage("no terms are on offer").code("agreement.none-offered"),
                _ => Failure::usage(format!("no terms with the digest {which}…")).code("agreement.unknown"),
            },
            _ => Failure::usage(format!("several terms fit '{which}'")).code("agreement.ambiguous"),
        };
        Err(failure.next("see 'allmende agreement list'; every party must sign before terms are in force"))
    }

    /// The terms in force, which most statements are made under.
    ///
    /// # Errors
    /// As [`Self::agreement`].
    pub fn current(&self) -> Result<(Digest, &Terms), Failure> {
        self.agreement("current").map(|(digest, agreement)| (digest, &agreement.terms))
    }

    /// A name for a decision that is not taken yet.
    ///
    /// # Errors
    /// Never for names made of valid names.
    pub fn decision_name(&self, base: &str) -> Result<DecisionId, Failure> {
        let base: String = base.chars().take(36).collect();
        let base = base.trim_end_matches('-');
        let names = std::iter::once(base.to_owned()).chain((2..1_000).map(|n| format!("{base}-{n}")));
        for name in names {
            let id: DecisionId = name.parse().map_err(|e| Failure::usage(format!("{e}")))?;
            if !self.state().decisions().contains_key(&id) {
                return Ok(id);
            }
        }
        Err(Failure::usage(format!("too many decisions are called '{base}'")).next("give --decision NAME"))
    }
}

fn unknown(error: ClientError, collaboration: &CollaborationId) -> Failure {
    if error.status() == Some(404) {
        return Failure::usage(format!("there is no collaboration '{collaboration}' that you may read"))
            .code("collaboration.unknown")
            .next("see 'allmende collaboration list'; its charter must invite you");
    }
    error.into()
}

/// `one of a, b, c`, or what to do when there is nothing.
#[must_use]
pub fn one_of(known: &[String], otherwise: &str) -> String {
    if known.is_empty() { otherwise.to_owned() } else { format!("known: {}", known.join(", ")) }
}

/// Names of all collaborations that the party may read, as the hub lists them.
///
/// # Errors
/// When the hub cannot be reached.
pub async fn names(hub: &HubClient) -> Result<Vec<CollaborationId>, Failure> {
    let mut names = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = hub.collaborations(after.as_deref()).await?;
        names.extend(page.items.into_iter().map(|item| item.id));
        match page.next {
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            _ => return Ok(names),
        }
    }
}

/// The chosen collaboration, or the only one there is.
///
/// # Errors
/// When there is none, or several and nothing says which.
pub async fn choose(context: &Context, home: &Home, hub: &HubClient) -> Result<CollaborationId, Failure> {
    if let Some(chosen) = &context.global.collaboration {
        if chosen.as_str() == HUB {
            return Err(Failure::usage(format!("'{HUB}' is the hub's own log")).code("collaboration.unknown"));
        }
        return Ok(chosen.clone());
    }
    let names = names(hub).await?;
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::usage(format!("{} is in no collaboration yet", home.party()))
            .code("collaboration.none")
            .next("found one with 'allmende collaboration propose', or ask to be invited")),
        several => {
            let several: Vec<_> = several.iter().map(ToString::to_string).collect();
            Err(Failure::usage("there are several collaborations")
                .code("collaboration.several")
                .next(format!("choose with --collaboration: {}", several.join(", "))))
        }
    }
}
