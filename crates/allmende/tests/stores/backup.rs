//! Backups, and logs that come back: from an archive, from tiles, from a member's copy.

use std::path::{Path, PathBuf};

use allmende::backup::{self, BackupError, Parts};
use allmende::client::home::sealed::{Effort, Passphrase};
use allmende::clock::Clock;
use allmende::config::Config;
use allmende::ledger::{AppendError, Heard, Item, hold, read, store};
use allmende::{keyfile, projection};
use allmende_core::digest::{Digest, to_hex};
use allmende_core::ledger::tile::tiles;
use allmende_core::signature::SecretKey;
use allmende_core::statement::{HUB, KeyClass, KeyDelegated};
use bytes::Bytes;
use futures::TryStreamExt as _;

use super::{NOW, Store, s3};
use crate::verify::world::{PARTIES, Shape, World, key};

/// Little work: these passphrases guard nothing.
const QUICK: Effort = Effort { memory_kib: 64, passes: 1, lanes: 1 };

fn passphrase() -> Passphrase {
    Passphrase::new("not a secret")
}

/// The settings of a hub below `dir`, with the key that signed the logs of [`World`].
fn settings(dir: &Path, store: &Store) -> Config {
    let mut config = Config::in_dir(dir).unwrap();
    if let Some(place) = &store.place {
        config = Config { data_dir: config.data_dir, ..s3::config_at(place) };
    }
    config.name = "hub.example".to_owned();
    config.database_url.clone_from(&store.options.url);
    std::fs::create_dir_all(dir).unwrap();
    put_key(dir, &key(HUB, KeyClass::Hub));
    config
}

fn put_key(dir: &Path, key: &SecretKey) {
    let path = dir.join("hub.key");
    let _ = std::fs::remove_file(&path);
    keyfile::load_or_create(&path, || Ok(format!("{}\n", to_hex(&key.seed())).into())).unwrap();
}

async fn parts(dir: &Path, store: &Store) -> Parts {
    Parts::open(settings(dir, store), NOW).await.unwrap()
}

/// A hub with one collaboration whose log and bytes are those of `world`.
async fn hub_of(world: &World, dir: &Path, store: &Store) -> Parts {
    let parts = parts(dir, store).await;
    let tiles = dir.join("tiles");
    world.export(&tiles);
    let done = backup::rebuild(&parts, &tiles, NOW, &|_| ()).await.unwrap();
    assert_eq!((done[0].log.as_str(), done[0].added), ("handwriting", world.leaves.len() as u64));
    for bytes in world.blobs.values() {
        parts.blobs.put_bytes(Bytes::from(bytes.clone())).await.unwrap();
    }
    parts
}

async fn rows(parts: &Parts) -> Vec<Vec<String>> {
    use sqlx::Row as _;
    let mut all = Vec::new();
    for (table, order) in projection::TABLES.iter().chain(&[("log_nodes", "level, idx")]) {
        let mut connection = parts.db.read().await.unwrap();
        let columns = match *table {
            "log_nodes" => "log, CAST(level AS TEXT)",
            "p_party_keys" => "key, party",
            "p_key_statements" => "party, CAST(idx AS TEXT)",
            "p_collaborations" => "log, title",
            _ => "log, party",
        };
        let sql = format!("SELECT {columns} FROM {table} ORDER BY {order}");
        let found = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
        all.push(found.iter().map(|r| format!("{} {}", r.get::<String, _>(0), r.get::<String, _>(1))).collect());
    }
    all
}

async fn same(a: &Parts, b: &Parts, world: &World) {
    let (mut one, mut two) = (a.db.snapshot().await.unwrap(), b.db.snapshot().await.unwrap());
    let head = store::head(&mut one, "handwriting").await.unwrap();
    assert_eq!(head, store::head(&mut two, "handwriting").await.unwrap());
    let entries = store::entries(&mut two, "handwriting", 0, 100_000).await.unwrap();
    assert_eq!(entries, store::entries(&mut one, "handwriting", 0, 100_000).await.unwrap());
    assert_eq!(entries.into_iter().map(|e| e.leaf).collect::<Vec<_>>(), world.leaves);
    assert_eq!(rows(a).await, rows(b).await);
    for (digest, bytes) in &world.blobs {
        let read = b.blobs.open_range(digest, None).await.unwrap();
        let read: Vec<Bytes> = read.stream.try_collect().await.unwrap();
        assert_eq!(read.concat(), *bytes);
    }
}

fn archive(dir: &Path) -> PathBuf {
    dir.join("hub.allmende")
}

async fn back_up(parts: &Parts, dir: &Path) -> backup::Made {
    backup::backup(parts, &archive(dir), &passphrase(), QUICK, NOW, &|done, all| assert!(done <= all)).await.unwrap()
}

async fn restore(parts: &Parts, file: &Path) -> Result<backup::Restored, BackupError> {
    backup::restore(parts, file, &passphrase(), NOW, &|done, all| assert!(done <= all)).await
}

fn clock(world: &World) -> Clock {
    Clock::test(world.now.plus_ms(1_000))
}

fn delegation(world: &World, n: u8) -> Item {
    let node = SecretKey::from_seed(&[n; 32]).public();
    let body = KeyDelegated { key: node, node: format!("extra-{n}").parse().unwrap() };
    Item::Signed(world.seal("east", KeyClass::Governance, body))
}

/// A backup of one hub restores to another.
async fn comes_back(store: &Store, other: &Store) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::settled(&Shape::small());
    let here = hub_of(&world, &dir.path().join("a"), store).await;
    let made = back_up(&here, dir.path()).await;
    assert_eq!((made.logs, made.entries, made.blobs), (1, world.leaves.len() as u64, world.blobs.len() as u64));
    // The world releases a manifest whose bytes nobody uploaded.
    assert_eq!(made.missing, [Digest::of(b"manifest")]);
    assert_eq!(made.bytes, std::fs::metadata(archive(dir.path())).unwrap().len());
    let bytes = std::fs::read(archive(dir.path())).unwrap();
    assert!(bytes.starts_with(b"allmende-backup v1\nkdf: argon2id m=64 t=1 p=1\n"));
    let secret = to_hex(&key(HUB, KeyClass::Hub).seed());
    assert!(!String::from_utf8_lossy(&bytes).contains(&secret) && !String::from_utf8_lossy(&bytes).contains("ustar"));

    let there = parts(&dir.path().join("b"), other).await;
    let restored = restore(&there, &archive(dir.path())).await.unwrap();
    assert_eq!((restored.logs, restored.entries, restored.blobs), (made.logs, made.entries, made.blobs));
    assert_eq!(restored.waiting, ["handwriting"]);
    same(&here, &there, &world).await;
    // The tiles are the export, and the projections are those that a rebuild makes.
    let tiled = allmende::verify::DirSource::new(dir.path().join("b/export/handwriting"));
    assert_eq!(allmende::verify::checkpoint(&tiled).unwrap(), world.checkpoint());
    let before = rows(&there).await;
    let empty = |name: &str| {
        Some(allmende_core::state::State::new(format!("hub.example/{name}").parse().ok()?, Some(name.parse().ok()?)))
    };
    projection::rebuild(&there.db, empty).await.unwrap();
    assert_eq!(rows(&there).await, before);

    let again = restore(&there, &archive(dir.path())).await;
    assert!(matches!(&again, Err(BackupError::NotEmpty { what }) if what == "the database"), "{again:?}");
    let taken = backup::backup(&here, &archive(dir.path()), &passphrase(), QUICK, NOW, &|_, _| ()).await;
    assert!(matches!(taken, Err(BackupError::File { .. })), "an archive is never overwritten");
}

#[tokio::test]
async fn bytes_in_s3_are_backed_up_and_restored() {
    comes_back(&Store::sqlite().with_bytes_in_s3(), &Store::sqlite()).await;
    comes_back(&Store::sqlite(), &Store::sqlite().with_bytes_in_s3()).await;
}

crate::on_both! {
    async fn a_backup_restores_to_the_same_hub(store) {
        comes_back(&store, &Store::sqlite()).await;
    }

    async fn a_log_is_extended_from_a_members_copy_and_never_replaced(store) {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::agreed();
        let here = hub_of(&world, &dir.path().join("a"), &store).await;
        let had = world.leaves.len() as u64;
        world.grow(had + 600);
        let mirror = dir.path().join("mirror");
        world.export(&mirror);
        let done = backup::rebuild(&here, &mirror, NOW, &|_| ()).await.unwrap();
        assert_eq!((done[0].entries, done[0].added), (had + 600, 600));
        let done = backup::rebuild(&here, &dir.path().join("a/tiles"), NOW, &|_| ()).await.unwrap();
        assert_eq!((done[0].entries, done[0].added), (had + 600, 0), "a shorter copy adds nothing");
        // Every file of the log, and every proof, as the tiles have them.
        let mut connection = here.db.read().await.unwrap();
        for tile in tiles(had + 600) {
            let bytes = read::tile_of(&mut connection, "handwriting", &tile, had + 600).await.unwrap();
            assert_eq!(bytes, std::fs::read(mirror.join(tile.to_string())).unwrap(), "{tile}");
        }
        drop(connection);
        for size in [1, had, 256, 257, 512, had + 600] {
            let hashes: Vec<_> = world.leaves[..size as usize].iter().map(|l| allmende_core::ledger::merkle::leaf_hash(l)).collect();
            assert_eq!(read::root_at(&here.db, "handwriting", size).await.unwrap(), allmende_core::ledger::merkle::root_of(&hashes));
        }
        for index in [0, 255, 256, had + 599] {
            let receipt = read::receipt_under(&here.db, "handwriting", index, world.checkpoint()).await.unwrap();
            allmende::verify::read_receipt(&receipt.to_string(), &crate::verify::world::origin(), &World::hub_key(), &[]).unwrap();
        }

        // Another history of the same hub is not taken, whichever is longer.
        for more in [300, 900] {
            let mut fork = World::agreed();
            fork.now = fork.now.plus_ms(1);
            fork.grow(had + more);
            let folder = dir.path().join(format!("fork-{more}"));
            fork.export(&folder);
            let forked = backup::rebuild(&here, &folder, NOW, &|_| ()).await;
            assert!(matches!(forked, Err(BackupError::Forked { .. })), "{forked:?}");
        }
        let head = store::head(&mut here.db.read().await.unwrap(), "handwriting").await.unwrap().unwrap();
        assert_eq!((head.size, head.root), (had + 600, world.checkpoint().checkpoint.root.0));
    }

    async fn a_restored_log_waits_for_its_witnesses(store) {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::agreed();
        let at = dir.path().join("a");
        hub_of(&world, &at, &store).await.db.close().await;
        let had = world.leaves.len() as u64;
        let app = allmende::hub::open(settings(&at, &store), clock(&world)).await.unwrap();
        let log = app.logs.get(&"handwriting".parse().unwrap()).await.unwrap().unwrap();
        let refused = log.append(vec![delegation(&world, 1)]).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("log handwriting was restored at {had} entries; waiting to hear from the nodes of east, north, west")
        );
        let api = allmende::error::ApiError::from(refused);
        assert_eq!((api.code().status(), api.code().as_str()), (503, "unavailable"));
        let node = |party: &str| key(party, KeyClass::Node).public();
        let heard = async |party: &str, size: u64| log.heard(&party.parse().unwrap(), &node(party), size).await.unwrap();
        assert!(matches!(heard("north", had).await, Heard::Held(w) if w.silent.len() == 2));
        // East has entries that are not here: the log stays closed, also when everybody was heard.
        assert!(matches!(heard("east", had + 40).await, Heard::Held(w) if w.ahead == [("east".parse().unwrap(), had + 40)]));
        assert!(matches!(heard("west", 3).await, Heard::Held(w) if w.silent.is_empty() && !w.is_over()));
        assert!(matches!(heard("east", 5).await, Heard::Held(w) if !w.is_over()), "what was seen stays seen");
        let refused = log.append(vec![delegation(&world, 1)]).await.unwrap_err();
        assert!(refused.to_string().ends_with(&format!("a node of east has {} entries", had + 40)), "{refused}");

        // Its copy brings them back, also beside the running hub; then one more word opens the log.
        world.grow(had + 40);
        let mirror = dir.path().join("mirror/handwriting");
        world.export(&mirror);
        let beside = parts(&at, &store).await;
        backup::rebuild(&beside, mirror.parent().unwrap(), NOW, &|_| ()).await.unwrap();
        assert_eq!(heard("north", had).await, Heard::Opened);
        assert_eq!(heard("north", had).await, Heard::Open);
        assert_eq!(log.state().await.unwrap().size(), had + 40);
        log.append(vec![delegation(&world, 1)]).await.unwrap();
        assert!(hold::all(&mut app.db.read().await.unwrap()).await.unwrap().is_empty());
        app.closing.cancel();
    }

    async fn an_operator_may_let_a_log_go_on(store) {
        let dir = tempfile::tempdir().unwrap();
        let world = World::agreed();
        let at = dir.path().join("a");
        let beside = hub_of(&world, &at, &store).await;
        let app = allmende::hub::open(settings(&at, &store), clock(&world)).await.unwrap();
        let log = app.logs.get(&"handwriting".parse().unwrap()).await.unwrap().unwrap();
        assert!(matches!(log.append(vec![delegation(&world, 1)]).await, Err(AppendError::Restored { .. })));
        assert_eq!(backup::resume(&beside, Some("other")).await.unwrap(), Vec::<String>::new());
        assert_eq!(backup::resume(&beside, None).await.unwrap(), ["handwriting"]);
        log.append(vec![delegation(&world, 1)]).await.unwrap();
        app.closing.cancel();
    }

    async fn a_hub_keeps_its_logs_as_tiles_and_notices_when_its_database_lost_some(store) {
        let dir = tempfile::tempdir().unwrap();
        let world = World::agreed();
        let at = dir.path().join("a");
        let beside = hub_of(&world, &at, &store).await;
        backup::resume(&beside, None).await.unwrap();
        let had = world.leaves.len() as u64;
        let app = allmende::hub::open(settings(&at, &store), clock(&world)).await.unwrap();
        let log = app.logs.get(&"handwriting".parse().unwrap()).await.unwrap().unwrap();
        log.append(vec![delegation(&world, 1)]).await.unwrap();
        app.closing.cancel();
        app.tasks.close();
        app.tasks.wait().await;
        for (name, size) in [("handwriting", had + 1), ("hub", 1)] {
            let source = allmende::verify::DirSource::new(at.join("export").join(name));
            assert_eq!(allmende::verify::verify(&source, &allmende::verify::Options::default()).unwrap().entries, size);
        }
        app.db.close().await;
        drop(app);

        // The database is gone: a hub that began anew would sign a second history.
        let empty = Store::sqlite();
        let lost = allmende::hub::open(settings(&at, &empty), clock(&world)).await.map(drop).unwrap_err();
        assert!(lost.to_string().contains("ledger rebuild --from"), "{lost}");
        let there = parts(&at, &empty).await;
        let done = backup::rebuild(&there, &at.join("export"), NOW, &|_| ()).await.unwrap();
        assert_eq!(done.iter().map(|d| d.log.as_str()).collect::<Vec<_>>(), ["hub", "handwriting"]);
        let app = allmende::hub::open(settings(&at, &empty), clock(&world)).await.unwrap();
        assert_eq!(hold::all(&mut app.db.read().await.unwrap()).await.unwrap(), ["handwriting", "hub"]);
        app.closing.cancel();

        // An older copy of the database under newer tiles: held at once.
        let older = Store::sqlite();
        let there = parts(&at, &older).await;
        backup::rebuild(&there, &at.join("tiles"), NOW, &|_| ()).await.unwrap();
        backup::rebuild(&there, &at.join("export/hub"), NOW, &|_| ()).await.unwrap();
        backup::resume(&there, None).await.unwrap();
        let app = allmende::hub::open(settings(&at, &older), clock(&world)).await.unwrap();
        assert_eq!(hold::all(&mut app.db.read().await.unwrap()).await.unwrap(), ["handwriting"]);
        app.closing.cancel();
    }

    async fn an_older_database_gets_its_nodes_when_a_log_is_opened(store) {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::agreed();
        world.grow(800);
        let here = hub_of(&world, &dir.path().join("a"), &store).await;
        let cleared: Result<(), allmende::db::DbError> = allmende::transaction!(here.db, tx => {
            sqlx::query("DELETE FROM log_nodes").execute(&mut **tx).await?;
            Ok(())
        });
        cleared.unwrap();
        // Until then they are made of the leaves.
        assert_eq!(read::root_at(&here.db, "handwriting", 800).await.unwrap(), world.checkpoint().checkpoint.root);
        assert_eq!(store::count_nodes(&mut here.db.read().await.unwrap(), "handwriting").await.unwrap(), 0);
        let app = allmende::hub::open(settings(&dir.path().join("a"), &store), clock(&world)).await.unwrap();
        app.logs.get(&"handwriting".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(store::count_nodes(&mut here.db.read().await.unwrap(), "handwriting").await.unwrap(), 3);
        assert_eq!(read::root_at(&here.db, "handwriting", 800).await.unwrap(), world.checkpoint().checkpoint.root);
        app.closing.cancel();
    }
}

#[tokio::test]
async fn a_damaged_or_foreign_archive_is_refused_and_no_hub_starts_on_half_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::settled(&Shape::small());
    // More than one chunk of the envelope.
    world.grow(2_000);
    let source = Store::sqlite();
    let here = hub_of(&world, &dir.path().join("a"), &source).await;
    back_up(&here, dir.path()).await;
    let good = std::fs::read(archive(dir.path())).unwrap();
    let head = good.windows(2).position(|w| w == b"\n\n").unwrap() + 2;
    let chunk = (1 << 20) + 16;
    assert!(good.len() > head + chunk, "{} bytes", good.len());
    let mut number = 0;
    let mut attempt = async |bytes: Vec<u8>, words: Passphrase| {
        number += 1;
        let file = dir.path().join(format!("bad-{number}"));
        std::fs::write(&file, bytes).unwrap();
        let store = Store::sqlite();
        let at = dir.path().join(format!("to-{number}"));
        let there = parts(&at, &store).await;
        let refused = backup::restore(&there, &file, &words, NOW, &|_, _| ()).await;
        let started = allmende::hub::open(settings(&at, &store), clock(&world)).await.map(drop);
        (refused.map(drop).map_err(|e| e.to_string()), started.map_err(|e| e.to_string()))
    };
    let wrong = Err("the passphrase is wrong, or the file was changed".to_owned());
    assert_eq!(attempt(good.clone(), Passphrase::new("another")).await.0, wrong);
    for at in [0, 30, 60, head - 1, head, head + chunk - 1, head + chunk + 5, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let (refused, started) = attempt(bad, passphrase()).await;
        assert!(refused.is_err(), "byte {at}");
        // Where the damage shows in the second chunk only, the restore had begun.
        assert_eq!(started.is_err(), at >= head + chunk, "byte {at}: {started:?}");
    }
    let (first, second) = (good[head..head + chunk].to_vec(), good[head + chunk..].to_vec());
    let head = good[..head].to_vec();
    for (what, bad) in [
        ("cut at a chunk", [head.clone(), first.clone()].concat()),
        ("cut within a chunk", good[..good.len() - 100].to_vec()),
        ("swapped", [head.clone(), second.clone(), first.clone()].concat()),
        ("repeated", [head.clone(), first.clone(), first.clone(), second.clone()].concat()),
        ("longer", [good.clone(), vec![0]].concat()),
        ("left out", [head.clone(), second].concat()),
    ] {
        assert!(attempt(bad, passphrase()).await.0.is_err(), "{what}");
    }

    // Cut short, it is run again with the whole file; then the hub starts.
    let store = Store::sqlite();
    let at = dir.path().join("again");
    let there = parts(&at, &store).await;
    assert!(restore(&there, &dir.path().join("bad-9")).await.is_err());
    let started = allmende::hub::open(settings(&at, &store), clock(&world)).await.map(drop).unwrap_err();
    assert!(started.to_string().contains("run 'allmende restore' again"), "{started}");
    restore(&there, &archive(dir.path())).await.unwrap();
    same(&here, &there, &world).await;
    allmende::hub::open(settings(&at, &store), clock(&world)).await.unwrap().closing.cancel();

    let at = dir.path().join("keys");
    let store = Store::sqlite();
    let config = settings(&at, &store);
    std::fs::remove_file(at.join("hub.key")).unwrap();
    let missing = Parts::open(config.clone(), NOW).await.map(drop);
    assert!(matches!(missing, Err(BackupError::NoKey { .. })), "{missing:?}");
    put_key(&at, &key(PARTIES[0], KeyClass::Root));
    let other = Parts::open(config.clone(), NOW).await.unwrap();
    let refused = restore(&other, &archive(dir.path())).await;
    assert!(matches!(refused, Err(BackupError::OtherKey { .. })), "{refused:?}");
    put_key(&at, &key(HUB, KeyClass::Hub));
    let renamed = Parts::open(Config { name: "other.example".to_owned(), ..config }, NOW).await.unwrap();
    let refused = restore(&renamed, &archive(dir.path())).await;
    assert!(matches!(refused, Err(BackupError::OtherHub { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_wrong_log_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::settled(&Shape::small());
    let payout = world.payout("500");
    let mut wrong = payout;
    wrong.amounts.swap(0, 1);
    let envelope = world.seal("north", KeyClass::Governance, wrong);
    world.cheat(envelope);
    let store = Store::sqlite();
    let here = parts(&dir.path().join("a"), &store).await;
    let tiles = dir.path().join("tiles");
    world.export(&tiles);
    let refused = backup::import(&here, &tiles, NOW).await;
    assert!(matches!(refused, Err(BackupError::Judged { .. })), "{refused:?}");
    assert!(store::logs(&mut here.db.read().await.unwrap(), "", 10).await.unwrap().is_empty());
    let nothing = backup::rebuild(&here, dir.path(), NOW, &|_| ()).await;
    assert!(nothing.is_err());
}
