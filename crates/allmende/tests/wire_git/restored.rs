//! Repositories that come back from a backup: what was pushed is cloned from the hub that was restored.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use allmende::account::Rights;
use allmende::account::store as accounts;
use allmende::backup::{self, LEFT_OUT, Parts, TABLES};
use allmende::client::home::sealed::{Effort, Passphrase};
use allmende::git::reach::History;
use allmende::repo::changes::{Change, Commit};
use allmende::repo::ops::Seen;
use allmende::repo::{Kind, Right, store};
use allmende::xet::check::check;
use allmende::xet::ingest::Ingest;
use futures::TryStreamExt as _;
use serde_json::json;

use super::{Desk, Someone, address, noise};
use crate::http::{Hub, config};
use crate::stores::NOW;

const QUICK: Effort = Effort { memory_kib: 64, passes: 1, lanes: 1 };

async fn back_up(hub: &Hub, archive: &Path) -> backup::Made {
    let parts = Parts::open(hub.app.config.clone(), NOW).await.unwrap();
    let progress = |done, all| assert!(done <= all);
    backup::backup(&parts, archive, &Passphrase::new("not a secret"), QUICK, NOW, &progress).await.unwrap()
}

/// Restores into a new folder, in which a hub can be started.
async fn restore(hub: &Hub, archive: &Path) -> (tempfile::TempDir, backup::Restored) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, &[]);
    std::fs::create_dir_all(&config.data_dir).unwrap();
    std::fs::copy(hub.app.config.hub_key_path(), config.hub_key_path()).unwrap();
    std::fs::set_permissions(config.hub_key_path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let parts = Parts::open(config, NOW).await.unwrap();
    let progress = |done, all| assert!(done <= all);
    let restored = backup::restore(&parts, archive, &Passphrase::new("not a secret"), NOW, &progress).await.unwrap();
    parts.db.close().await;
    (dir, restored)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_pushed_comes_back_from_a_backup() {
    let hub = Hub::start(&[]).await;
    let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
    carla.creates(&hub.app, Kind::Model, "bert", true).await;
    carla.creates(&hub.app, Kind::Dataset, "empty", false).await;
    let desk = Desk::new();
    desk.git("", &["lfs", "install"]).await.fine();
    desk.clones(&address(&hub, &carla, "carla/bert"), "one").await.fine();
    let bytes = noise(7, 9 << 20);
    desk.commits("one", "model.safetensors", &bytes).await;
    desk.commits("one", "note.txt", b"beside it\n").await;
    desk.git("one", &["tag", "-a", "v1", "-m", "the first"]).await.fine();
    desk.git("one", &["push", "--quiet", "origin", "main", "v1"]).await.fine();
    let url = format!("{}/api/models/carla/bert/discussions", hub.url);
    let body = json!({ "title": "A proposal", "description": "for all", "pullRequest": true });
    let opened = reqwest::Client::new().post(url).bearer_auth(&carla.secret).json(&body).send().await.unwrap();
    assert_eq!(opened.status(), 200);
    let refs = async |hub: &Hub| {
        let repo = store::find(&mut hub.app.db.read().await.unwrap(), Kind::Model, "carla", "bert").await;
        let repo = repo.unwrap().unwrap();
        (hub.app.git.repo(&repo.id).refs("refs/").await.unwrap(), repo)
    };
    let before = refs(&hub).await;
    assert_eq!(before.0.len(), 3, "main, a pull request and a tag: {before:?}");
    let bucket = carla.creates(&hub.app, Kind::Bucket, "scratch", true).await;
    let mut ingest = Ingest::begin(&hub.app, &bucket).await.unwrap();
    ingest.push(b"in a bucket").await.unwrap();
    let hash = ingest.finish().await.unwrap().xet_hash.to_string();
    let line =
        json!({ "type": "addFile", "path": "a/b.txt", "xetHash": hash, "contentType": "text/plain" }).to_string();
    let url = format!("{}/api/buckets/carla/scratch/batch", hub.url);
    let put = reqwest::Client::new().post(url).bearer_auth(&carla.secret).body(line).send().await.unwrap();
    assert_eq!(put.status(), 200);
    let archive = desk.path("hub.allmende");
    let made = back_up(&hub, &archive).await;
    assert_eq!((made.repositories, made.lost_xorbs), (3, 0));
    assert!((9 << 20..10 << 20).contains(&made.large_bytes), "{made:?}");
    let plain = std::fs::read(&archive).unwrap();
    assert!(!plain.windows(9).any(|w| w == b"beside it") && !plain.windows(5).any(|w| w == b"carla"));

    let (dir, restored) = restore(&hub, &archive).await;
    assert_eq!((restored.repositories, restored.large_bytes), (made.repositories, made.large_bytes));
    let there = Hub::start_in(dir, &[]).await;
    let report = check(&there.app.db, &there.app.blobs).await.unwrap();
    assert_eq!((report.files, report.uncited, report.findings.len()), (2, 0, 0), "{report:?}");
    assert_eq!(refs(&there).await, before);
    // Tokens do not come back.
    desk.clones(&address(&there, &carla, "carla/bert"), "none").await.refused("Authentication failed");
    let account = accounts::by_name(&mut there.app.db.read().await.unwrap(), "carla").await.unwrap().unwrap();
    let again = Someone::with_token(&there.app, account, "2", Rights::Write).await;
    let url = format!("{}/buckets/carla/scratch/resolve/a%2Fb.txt", there.url);
    let kept = reqwest::Client::new().get(url).bearer_auth(&again.secret).send().await.unwrap();
    assert_eq!(kept.text().await.unwrap(), "in a bucket");
    desk.clones(&address(&there, &again, "carla/bert"), "two").await.fine();
    assert_eq!(std::fs::read(desk.path("two/model.safetensors")).unwrap(), bytes);
    assert_eq!(std::fs::read(desk.path("two/note.txt")).unwrap(), b"beside it\n");
    assert_eq!(desk.git("two", &["tag", "-l", "--format=%(contents:subject)"]).await.fine(), "the first");
    desk.git("two", &["lfs", "fsck"]).await.fine();
    desk.commits("two", "more.bin", &noise(8, 2 << 20)).await;
    desk.git("two", &["push", "--quiet"]).await.fine();
    let url = format!("{}/api/models/carla/bert/discussions", there.url);
    let found = reqwest::Client::new().get(url).bearer_auth(&again.secret).send().await.unwrap();
    assert!(found.text().await.unwrap().contains("A proposal"));
    // Nothing is restored over what is there.
    let parts = Parts::open(there.app.config.clone(), NOW).await.unwrap();
    let refused = backup::restore(&parts, &archive, &Passphrase::new("not a secret"), NOW, &|_, _| ()).await;
    assert!(matches!(refused, Err(backup::BackupError::NotEmpty { .. })), "{refused:?}");
    there.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_pushes_has_everything_that_it_names() {
    let hub = Hub::start(&[]).await;
    let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
    let repo = carla.creates(&hub.app, Kind::Model, "bert", true).await;
    let (app, who) = (hub.app.clone(), carla.clone());
    let pushing = tokio::spawn(async move {
        for n in 0_u64.. {
            let mut ingest = Ingest::begin(&app, &repo).await.unwrap();
            ingest.push(&noise(n + 1, 200_000)).await.unwrap();
            let sha256 = ingest.finish().await.unwrap().sha256;
            let seen = Seen { repo: repo.clone(), right: Right::Admin, denied: None };
            let mut commit = Commit::begin(&app, &seen, &who.principal, "main", None, "more").await.unwrap();
            commit.take(Change::PutLarge { path: format!("{n}.bin").parse().unwrap(), sha256 }).await.unwrap();
            commit.finish().await.unwrap();
            who.creates(&app, Kind::Model, &format!("new{n}"), true).await;
        }
    });
    let desk = Desk::new();
    let mut grown = Vec::new();
    for n in 0..4 {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let archive = desk.path(&format!("hub{n}.allmende"));
        let made = back_up(&hub, &archive).await;
        assert_eq!(made.lost_xorbs, 0);
        let (dir, _) = restore(&hub, &archive).await;
        let there = Hub::start_in(dir, &[]).await;
        let report = check(&there.app.db, &there.app.blobs).await.unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
        let (mut after, mut cited) = (String::new(), 0);
        loop {
            let ids = store::ids(&mut there.app.db.read().await.unwrap(), &after, 100).await.unwrap();
            let Some(last) = ids.last() else { break };
            after.clone_from(last);
            for id in ids {
                let repo = store::by_id(&mut there.app.db.read().await.unwrap(), &id).await.unwrap().unwrap();
                let git = there.app.git.repo(&id);
                git.resolve("main").await.unwrap();
                let mut pointers = Vec::new();
                git.cited(History::Whole, |found| pointers.push(found.pointer)).await.unwrap();
                for pointer in pointers {
                    let sha256 = format!("sha256:{}", pointer.sha256).parse().unwrap();
                    let reader = allmende::xet::read::read(&there.app, &repo, &sha256, None).await.unwrap();
                    let all: Vec<_> = reader.stream.try_collect().await.unwrap();
                    assert_eq!(all.concat().len() as u64, pointer.size);
                    cited += 1;
                }
            }
        }
        grown.push(cited);
        there.stop().await;
    }
    assert!(!pushing.is_finished(), "{:?}", pushing.await);
    pushing.abort();
    assert!(grown[3] > grown[0], "{grown:?}");
    hub.stop().await;
}

crate::on_both! {
    async fn every_table_is_backed_up_or_left_out_on_purpose(store) {
        let db = store.open().await;
        let sql = match db.backend() {
            allmende::db::Backend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
            allmende::db::Backend::Postgres => {
                "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema()"
            }
        };
        let mut connection = db.read().await.unwrap();
        let mut found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *connection).await.unwrap();
        found.sort();
        let kept = TABLES.iter().map(|table| table.name).chain(LEFT_OUT.iter().copied());
        let mut known: Vec<String> = kept.map(str::to_owned).collect();
        known.sort();
        assert_eq!(found, known);
        for table in TABLES {
            let sql = match db.backend() {
                allmende::db::Backend::Sqlite => format!("SELECT name FROM pragma_table_info('{}')", table.name),
                allmende::db::Backend::Postgres => format!(
                    "SELECT CAST(column_name AS TEXT) FROM information_schema.columns
                     WHERE table_schema = current_schema() AND table_name = '{}'",
                    table.name
                ),
            };
            let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
            let mut found: Vec<String> = query.fetch_all(&mut *connection).await.unwrap();
            let mut known: Vec<String> = table.columns().map(str::to_owned).collect();
            found.sort();
            known.sort();
            assert_eq!(found, known, "{}", table.name);
        }
    }
}
