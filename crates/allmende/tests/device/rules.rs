//! Codes and tokens in both databases.

use allmende::account::device::{self, Asking, Begun, DeviceError, Key, Loan, Told};
use allmende::account::{AccountError, Kind, Rights, store};
use allmende::transaction;
use allmende_core::signature::SecretKey;

use crate::stores::NOW;

crate::on_both! {
    async fn a_token_is_fetched_once_whoever_races_for_it(store) {
        let (db, key) = (store.open().await, Key::of(&SecretKey::from_seed(&[7; 32])));
        let account = transaction!(db, tx => {
            store::create(tx, Kind::User, &"ada".parse().unwrap(), "Ada", None, false, NOW).await
        });
        let account: allmende::account::Account = account.map_err(|e: AccountError| e).unwrap();
        let asking = Asking::new("client", "program/1", "192.0.2.1".to_owned());
        let begun: Result<Begun, DeviceError> = transaction!(db, tx => { device::begin(tx, &key, &asking, NOW).await });
        let Begun { device: secret, code } = begun.unwrap();
        let ask = async || -> Told {
            let told: Result<Told, DeviceError> =
                transaction!(db, tx => { device::ask(tx, &secret, "client", NOW).await });
            told.unwrap()
        };
        assert!(matches!(ask().await, Told::Pending));
        assert!(matches!(ask().await, Told::SlowDown));
        // Another hub's key finds nothing.
        let foreign = Key::of(&SecretKey::from_seed(&[8; 32]));
        let typed = code.to_string();
        let look = async |key: &Key| {
            let found: Result<_, DeviceError> =
                transaction!(db, tx => { device::look_up(tx, key, Some(account.id.as_str()), &typed, NOW).await });
            found.unwrap()
        };
        assert!(look(&foreign).await.is_none());
        let (found, waiting) = look(&key).await.unwrap();
        assert_eq!((found, waiting.asking), (code.clone(), asking.clone()));
        let loan = Loan { account: account.id.clone(), rights: Rights::Read, ends_at: NOW.plus_ms(1_000), approver: None };
        let decide = async |loan: Option<&Loan>| {
            let done: Result<(), DeviceError> =
                transaction!(db, tx => { device::decide(tx, &key, &code, loan, NOW).await });
            done
        };
        decide(Some(&loan)).await.unwrap();
        assert!(matches!(decide(None).await, Err(DeviceError::Unknown)), "it was decided");
        let told = futures::future::join_all((0..8).map(|_| ask())).await;
        assert_eq!(told.iter().filter(|told| matches!(told, Told::Token(..))).count(), 1);
        assert_eq!(told.iter().filter(|told| matches!(told, Told::Unknown)).count(), 7);
        assert!(matches!(ask().await, Told::Unknown));
        db.close().await;
    }
}
