//! Codes with which parties register.

use allmende::db::{Db, DbError};
use allmende::invitations::{self, InvitationCode, InvitationError, NewInvitation};
use allmende::transaction;
use allmende_core::id::PartyId;
use allmende_core::signature::{PublicKey, SecretKey};

use super::NOW;

async fn create(db: &Db, party: Option<&str>, uses: u64, valid_ms: i64) -> Result<(String, InvitationCode), String> {
    let party = party.map(|name| name.parse().unwrap());
    let new = NewInvitation { party, uses, expires_at: NOW.plus_ms(valid_ms) };
    let made: Result<_, InvitationError> = transaction!(*db, tx => { invitations::create(tx, &new, NOW).await });
    made.map_err(|e| e.to_string())
}

fn root(seed: u8) -> PublicKey {
    SecretKey::from_seed(&[seed; 32]).public()
}

async fn take(db: &Db, code: &InvitationCode, party: &str, seed: u8, after_ms: i64) -> Result<(), String> {
    let (party, root): (PartyId, _) = (party.parse().unwrap(), root(seed));
    let taken: Result<(), InvitationError> = transaction!(*db, tx => {
        invitations::take(tx, code.secret(), &party, &root, NOW.plus_ms(after_ms)).await
    });
    taken.map_err(|e| e.to_string())
}

fn refused(why: &str) -> Result<(), String> {
    Err(format!("the invitation {why}"))
}

crate::on_both! {
    async fn a_code_is_good_once_and_again_for_whoever_used_it(store) {
        let db = store.open().await;
        let (id, code) = create(&db, None, 1, 1_000).await.unwrap();
        assert_eq!(code.secret().len(), 36);
        assert!(!format!("{code:?}").contains(&code.secret()[4..]));
        assert_eq!(take(&db, &code, "north", 1, 0).await, Ok(()));
        assert_eq!(take(&db, &code, "north", 1, 5_000).await, Ok(()), "a crash came in between, and it took long");
        assert_eq!(take(&db, &code, "north", 2, 0).await, refused("was used already"), "with another key");
        assert_eq!(take(&db, &code, "east", 3, 0).await, refused("was used already"));
        let listed = invitations::list(&mut db.read().await.unwrap()).await.unwrap();
        assert_eq!((listed[0].id.as_str(), listed[0].used_by.len()), (id.as_str(), 1));
        let kept: Vec<u8> = sqlx::query_scalar("SELECT hash FROM invitations")
            .fetch_one(&mut *db.read().await.unwrap())
            .await
            .unwrap();
        assert_eq!(kept, allmende_core::digest::Digest::of(code.secret().as_bytes()).0, "only the hash is kept");
    }

    async fn a_code_may_be_for_one_party_for_several_or_for_nobody_any_more(store) {
        let db = store.open().await;
        let (_, norths) = create(&db, Some("north"), 1, 1_000).await.unwrap();
        assert_eq!(take(&db, &norths, "east", 1, 0).await, refused("is for another party"));
        assert_eq!(take(&db, &norths, "north", 1, 1_000).await, refused("has expired"));
        assert_eq!(take(&db, &norths, "north", 1, 999).await, Ok(()));
        let (_, two) = create(&db, None, 2, 1_000).await.unwrap();
        assert_eq!(take(&db, &two, "north", 1, 0).await, Ok(()));
        assert_eq!(take(&db, &two, "east", 2, 0).await, Ok(()));
        assert_eq!(take(&db, &two, "west", 3, 0).await, refused("was used already"));
        let (id, gone) = create(&db, None, 1, 1_000).await.unwrap();
        for revoked in [true, false] {
            let done: Result<bool, DbError> = transaction!(db, tx => { invitations::revoke(tx, &id, NOW).await });
            assert_eq!(done.unwrap(), revoked);
        }
        assert_eq!(take(&db, &gone, "north", 1, 0).await, refused("was revoked"));
        let forgotten: Result<u64, DbError> =
            transaction!(db, tx => { invitations::forget(tx, NOW.plus_ms(2_000)).await });
        assert_eq!(forgotten.unwrap(), 3);
        assert_eq!(take(&db, &two, "north", 1, 0).await, refused("is unknown to this hub"));
    }

    async fn several_at_once_use_a_code_once(store) {
        let db = store.open().await;
        let (_, code) = create(&db, None, 1, 1_000).await.unwrap();
        let names = ["north", "east", "west", "south"];
        let tries = names.iter().zip(1..).map(|(name, seed)| take(&db, &code, name, seed, 0));
        let good = futures::future::join_all(tries).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(good, 1);
    }

    async fn invitations_have_bounds(store) {
        let db = store.open().await;
        let year_ms = 365 * 86_400_000;
        for (party, uses, valid_ms) in
            [(None, 0, 1), (None, 1_001, 1), (Some("north"), 2, 1), (None, 1, 0), (None, 1, year_ms + 1)]
        {
            assert!(create(&db, party, uses, valid_ms).await.is_err(), "{party:?} {uses} {valid_ms}");
        }
        assert!(create(&db, None, 1_000, year_ms).await.is_ok());
    }
}
