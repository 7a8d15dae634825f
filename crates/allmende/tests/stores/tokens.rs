//! Tokens and sign-in.

use std::path::Path;

use allmende::auth::login::login;
use allmende::auth::{self, AuthError, KeyDirectory, LoginClaim, NewToken, Scope, Scopes};
use allmende::config::Config;
use allmende::db::{Db, DbError};
use allmende::transaction;
use allmende_core::id::PartyId;
use allmende_core::ledger::envelope::Envelope;
use allmende_core::signature::{PublicKey, SecretKey};
use futures::future::BoxFuture;
use sqlx::AnyConnection;

use super::NOW;

/// North's key may read and write.
pub struct North(pub PublicKey);

impl KeyDirectory for North {
    fn login_scopes<'a>(
        &'a self,
        _: &'a mut AnyConnection,
        party: &'a PartyId,
        key: &'a PublicKey,
    ) -> BoxFuture<'a, Result<Option<Scopes>, DbError>> {
        let known = party.as_str() == "north" && *key == self.0;
        Box::pin(async move { Ok(known.then(|| Scopes::of(&[Scope::Read, Scope::Write]))) })
    }
}

pub fn claim(hub: &PublicKey, nonce: &str) -> LoginClaim {
    LoginClaim {
        audience: *hub,
        label: "laptop".to_owned(),
        lifetime_s: 0,
        nonce: format!("{nonce:0>22}"),
        party: "north".parse().unwrap(),
        scopes: "read".to_owned(),
        timestamp: NOW,
    }
}

async fn issue(db: &Db, party: &str, lifetime_ms: i64) -> Result<(String, auth::Token), AuthError> {
    let new = NewToken {
        party: party.parse().unwrap(),
        scopes: Scopes::of(&[Scope::Read, Scope::Node]),
        label: "ci".to_owned(),
        expires_at: NOW.plus_ms(lifetime_ms),
    };
    transaction!(*db, tx => { auth::issue(tx, &new, 2, NOW).await })
}

#[test]
fn scopes_have_one_text_and_clear_reach() {
    let scopes = Scopes::parse("node write").unwrap();
    assert_eq!(scopes.to_string(), "write node");
    assert!(scopes.allows(Scope::Read) && scopes.allows(Scope::Node) && !scopes.allows(Scope::Admin));
    assert!(!Scopes::of(&[Scope::Admin]).allows(Scope::Node), "a node's scope stands alone");
    assert!(!Scopes::of(&[Scope::Node]).allows(Scope::Read));
    assert!(Scopes::of(&[Scope::Read]).within(scopes) && !Scopes::of(&[Scope::Admin]).within(scopes));
    for bad in ["", "read ", "Read", "read,write"] {
        assert!(Scopes::parse(bad).is_none(), "{bad}");
    }
}

crate::on_both! {
    async fn a_token_lives_until_it_expires_or_is_revoked(store) {
        let db = store.open().await;
        let (id, token) = issue(&db, "north", 1000).await.unwrap();
        assert_eq!((token.secret().len(), &token.secret()[..4]), (47, "alm_"));
        assert_eq!(format!("{token:?}"), "Token(…)");
        let read = async |secret: &str, ms| {
            let found = auth::authenticate(&mut db.read().await.unwrap(), secret, NOW.plus_ms(ms)).await.unwrap();
            found.map(|(caller, stale)| (caller.party.to_string(), caller.scopes.to_string(), stale))
        };
        let known = |stale| Some(("north".to_owned(), "read node".to_owned(), stale));
        assert_eq!(read(token.secret(), 0).await, known(true));
        let noted: Result<(), DbError> = transaction!(db, tx => { auth::note_use(tx, &id, NOW).await });
        noted.unwrap();
        assert_eq!(read(token.secret(), 999).await, known(false));
        assert_eq!(read(token.secret(), 1000).await, None, "expired");
        let mut other = token.secret().to_owned();
        other.replace_range(46.., if other.ends_with('A') { "E" } else { "A" });
        for wrong in [other.as_str(), "", "alm_", &token.secret()[..46], &id] {
            assert_eq!(read(wrong, 0).await, None, "{wrong}");
        }
        let south = "south".parse().unwrap();
        let revoke = async |party: Option<&PartyId>| {
            let revoked: Result<bool, DbError> = transaction!(db, tx => { auth::revoke(tx, &id, party, NOW).await });
            revoked.unwrap()
        };
        assert!(!revoke(Some(&south)).await, "another party's");
        assert!(revoke(None).await);
        assert!(!revoke(None).await, "once");
        assert_eq!(read(token.secret(), 0).await, None, "revoked");
        let listed = auth::tokens(&mut db.read().await.unwrap(), &"north".parse().unwrap(), 10).await.unwrap();
        assert_eq!((listed.len(), listed[0].revoked_at, listed[0].last_used_at), (1, Some(NOW), Some(NOW)));
        let dump = sqlx::query("SELECT hash FROM tokens").fetch_one(&mut *db.read().await.unwrap()).await.unwrap();
        let hash: Vec<u8> = sqlx::Row::try_get(&dump, 0).unwrap();
        assert_eq!(hash, allmende_core::digest::Digest::of(token.secret().as_bytes()).0, "only the hash is kept");
    }

    async fn a_party_holds_a_limited_number_of_tokens(store) {
        let db = store.open().await;
        issue(&db, "north", 1000).await.unwrap();
        issue(&db, "north", 1000).await.unwrap();
        assert!(matches!(issue(&db, "north", 1000).await, Err(AuthError::TooManyTokens { max_tokens: 2 })));
        issue(&db, "south", 1000).await.unwrap();
        let all: Result<u64, DbError> = transaction!(db, tx => { auth::revoke_all(tx, NOW).await });
        assert_eq!(all.unwrap(), 3);
        issue(&db, "north", 1000).await.unwrap();
    }

    async fn signing_in_proves_the_key(store) {
        let db = store.open().await;
        let (hub, key) = (SecretKey::from_seed(&[1; 32]).public(), SecretKey::from_seed(&[2; 32]));
        let directory = North(key.public());
        let config = Config::in_dir(Path::new("/nowhere")).unwrap();
        let attempt = async |envelope: &Envelope, ms| {
            let done = login(&db, &directory, &config, &hub, envelope, NOW.plus_ms(ms)).await;
            done.map(|l| (l.token.secret().to_owned(), l.expires_at)).map_err(|e| e.to_string())
        };
        let good = claim(&hub, "1").seal(&key).unwrap();
        let (secret, expires_at) = attempt(&good, 0).await.unwrap();
        assert_eq!(expires_at, NOW.plus_ms(3_600_000));
        let found = auth::authenticate(&mut db.read().await.unwrap(), &secret, NOW).await.unwrap();
        assert_eq!(found.unwrap().0.party.as_str(), "north");
        assert!(attempt(&good, 1).await.unwrap_err().contains("nonce was used"), "a replay");

        let refused = async |change: &dyn Fn(&mut LoginClaim), signer: &SecretKey| {
            let mut changed = claim(&hub, "2");
            change(&mut changed);
            attempt(&changed.seal(signer).unwrap(), 0).await.unwrap_err()
        };
        assert!(refused(&|c| c.audience = key.public(), &key).await.contains("another hub"));
        assert!(refused(&|c| c.timestamp = NOW.plus_ms(300_001), &key).await.contains("clock"));
        assert!(refused(&|c| c.timestamp = NOW.plus_ms(-300_001), &key).await.contains("clock"));
        assert!(refused(&|c| c.nonce = "short".to_owned(), &key).await.contains("nonce"));
        assert!(refused(&|c| c.scopes = "admin".to_owned(), &key).await.contains("may not claim"));
        assert!(refused(&|c| c.scopes = String::new(), &key).await.contains("unknown scopes"));
        assert!(refused(&|c| c.lifetime_s = i64::from(u32::MAX), &key).await.contains("live longer"));
        assert!(refused(&|c| c.lifetime_s = -1, &key).await.contains("live longer"));
        let foreign = SecretKey::from_seed(&[3; 32]);
        assert_eq!(
            refused(&|_| {}, &foreign).await,
            refused(&|c| c.party = "unknown".parse().unwrap(), &key).await,
            "a foreign key and an unknown party look the same"
        );
        let mut forged = claim(&hub, "2").seal(&foreign).unwrap();
        forged.signatures[0].keyid = key.public();
        assert!(attempt(&forged, 0).await.unwrap_err().contains("signature"));
        let statement = Envelope::seal("agreement.signed", b"{}", &key);
        assert!(attempt(&statement, 0).await.unwrap_err().contains("not a sign-in"));
        assert!(attempt(&claim(&hub, "2").seal(&key).unwrap(), 0).await.is_ok(), "refusals use up no nonce");
    }
}
