//! The store of large files, through a real server, by the clients of others and by forgers.

mod buckets;
mod clients;
mod collected;
mod copied;
mod forged;
mod quotas;
mod reindexed;
mod store;

use std::path::Path;
use std::time::Duration;

use allmende::account::token::issue;
use allmende::account::{Account, AccountError, Kind, Principal, Rights, Role, new_id, store as accounts};
use allmende::clock::Clock;
use allmende::repo::ops::{self, Seen, Wanted};
use allmende::repo::{Kind as RepoKind, Repo, Right, Settings};
use allmende::transaction;
use allmende::xet::Session;

use futures::TryStreamExt as _;

use crate::http::Hub;
use crate::stores::s3;

/// A hub with people on it.
pub struct World {
    pub hub: Hub,
}

pub struct Person {
    pub account: Account,
    pub token: String,
    pub principal: Principal,
}

impl World {
    /// With the time of the machine, as clients compare with it.
    pub async fn start(settings: &[(&'static str, &str)]) -> Self {
        Self { hub: Hub::start_at(tempfile::tempdir().unwrap(), settings, Clock::system()).await }
    }

    /// With a clock that moves only when told to.
    pub async fn still() -> Self {
        Self { hub: Hub::start(&[]).await }
    }

    /// With its bytes in S3.
    pub async fn in_s3(clock: Clock) -> Self {
        let settings = s3::settings_at(&s3::fresh_place());
        let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        Self { hub: Hub::start_at(tempfile::tempdir().unwrap(), &settings, clock).await }
    }

    /// Bytes of all xorbs, wherever they lie.
    pub async fn held_bytes(&self) -> u64 {
        let found = self.hub.app.blobs.list_named("xet", Duration::ZERO);
        found.try_fold(0, async |sum, (_, size)| Ok(sum + size)).await.unwrap()
    }

    pub async fn person(&self, name: &str) -> Person {
        let (app, now) = (&self.hub.app, self.hub.app.clock.now());
        let token = format!("hf_{name}_{}", new_id().unwrap());
        let (account, id) = transaction!(app.db, tx => {
            let account =
                accounts::create(tx, Kind::User, &name.parse().unwrap(), name, None, false, now).await?;
            let id = issue(tx, &account, &token, "test", &Rights::Write, None, now).await?;
            Ok::<_, AccountError>((account, id))
        })
        .unwrap();
        let principal = Principal::of_token_id(app, &id).await.unwrap().unwrap();
        Person { account, token, principal }
    }

    pub async fn organization(&self, name: &str, members: &[(&Person, Role)]) -> Account {
        let (app, now) = (&self.hub.app, self.hub.app.clock.now());
        transaction!(app.db, tx => {
            let organization =
                accounts::create(tx, Kind::Organization, &name.parse().unwrap(), name, None, true, now).await?;
            for (member, role) in members {
                accounts::set_member(tx, &organization, &member.account, *role).await?;
            }
            Ok::<_, AccountError>(organization)
        })
        .unwrap()
    }

    pub async fn repo(&self, person: &Person, owner: &Account, name: &str) -> Repo {
        let wanted = Wanted {
            kind: RepoKind::Model,
            owner: owner.clone(),
            name: name.parse().unwrap(),
            private: Some(true),
            settings: Settings::default(),
        };
        ops::create(&self.hub.app, &person.principal, wanted).await.unwrap()
    }

    /// The address of a repository's part of the store, and a token for it.
    pub async fn transfer(&self, person: &Person, repo: &Repo, word: &str) -> (String, String) {
        let url = format!("{}/api/models/{}/xet-{word}-token/None", self.hub.url, repo.full_name());
        let answer = reqwest::Client::new().get(url).bearer_auth(&person.token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        (header("x-xet-cas-url"), header("x-xet-access-token"))
    }

    pub fn session(&self, person: &Person, repo: &Repo) -> Session {
        let seen = Seen { repo: repo.clone(), right: Right::Admin, denied: None };
        Session { seen, principal: Some(person.principal.clone()) }
    }

    /// Bytes of all xorbs on the hub's disk.
    pub fn stored_bytes(&self) -> u64 {
        size(&self.hub.dir.path().join("data/blobs/xet"))
    }
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() }
        })
        .sum()
}

/// Bytes that do not pack.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}
