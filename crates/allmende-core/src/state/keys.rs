//! Parties and their keys.

use super::{Checked, Context, Refusal, State};
use crate::party::{MAX_NODES, Party};
use crate::signature::PublicKey;
use crate::statement::{HUB, KeyClass, KeyDelegated, KeyRevoked, KeyRotated, PartyRegistered};

/// Most parties in one log.
const MAX_PARTIES: usize = 10_000;

impl State {
    pub(super) fn party_registered(&mut self, context: &Context<'_>, body: &PartyRegistered) -> Checked {
        if body.party != *context.party() || body.party.as_str() == HUB {
            return Err(Refusal::NotYours { party: context.party().clone() });
        }
        if self.parties.contains_key(&body.party) {
            return Err(Refusal::PartyExists { party: body.party.clone() });
        }
        if self.parties.len() >= MAX_PARTIES {
            return Err(Refusal::Limit { what: "parties", limit: MAX_PARTIES as u64 });
        }
        if body.root != context.key() {
            let party = body.party.clone();
            return Err(Refusal::NotTheirKey { party, class: KeyClass::Root, key: context.key() });
        }
        self.unused(&body.root)?;
        self.unused(&body.governance)?;
        if body.root == body.governance {
            return Err(Refusal::KeyInUse { key: body.root });
        }
        self.keys_used.extend([body.root, body.governance]);
        self.parties.insert(
            body.party.clone(),
            Party {
                id: body.party.clone(),
                root: body.root,
                governance: Some(body.governance),
                recovery: body.recovery,
                nodes: std::collections::BTreeMap::new(),
            },
        );
        Ok(())
    }

    pub(super) fn key_delegated(&mut self, context: &Context<'_>, body: &KeyDelegated) -> Checked {
        self.unused(&body.key)?;
        let party = self.signing_party(context)?;
        if party.nodes.len() >= MAX_NODES {
            return Err(Refusal::Limit { what: "node keys of one party", limit: MAX_NODES as u64 });
        }
        party.nodes.insert(body.key, body.node.clone());
        self.keys_used.insert(body.key);
        Ok(())
    }

    pub(super) fn key_rotated(&mut self, context: &Context<'_>, body: &KeyRotated) -> Checked {
        self.unused(&body.new)?;
        let by = context.opened.statement.header.by.class;
        let party = self.signing_party(context)?;
        match (by, body.class) {
            (KeyClass::Root, KeyClass::Governance) => party.governance = Some(body.new),
            // A recovery key is known to everybody once it has signed: as the root it would recover nothing.
            (KeyClass::Recovery, KeyClass::Root) if body.new == context.key() => {
                return Err(Refusal::KeyInUse { key: body.new });
            }
            (KeyClass::Recovery, KeyClass::Root) => {
                party.root = body.new;
                // A recovery key is revealed when it is used, and so serves once.
                party.recovery = None;
            }
            _ => return Err(Refusal::WrongClass { kind: "key.rotated", class: by }),
        }
        self.keys_used.extend([body.new, context.key()]);
        Ok(())
    }

    pub(super) fn key_revoked(&mut self, context: &Context<'_>, body: &KeyRevoked) -> Checked {
        let by = context.opened.statement.header.by.class;
        let party = self.signing_party(context)?;
        if party.nodes.remove(&body.key).is_some() {
            self.node_gone(&body.key);
            return Ok(());
        }
        if by == KeyClass::Root && party.governance == Some(body.key) {
            party.governance = None;
            return Ok(());
        }
        Err(Refusal::NotTheirKey { party: context.party().clone(), class: KeyClass::Node, key: body.key })
    }

    /// A key serves one party in one class, once: whoever copies a public key cannot pass for its owner, and a revoked key
    /// never comes back.
    fn unused(&self, key: &PublicKey) -> Checked {
        if self.keys_used.contains(key) { Err(Refusal::KeyInUse { key: *key }) } else { Ok(()) }
    }

    fn signing_party(&mut self, context: &Context<'_>) -> Result<&mut Party, Refusal> {
        let party = context.party();
        self.parties.get_mut(party).ok_or_else(|| Refusal::UnknownParty { party: party.clone() })
    }
}
