//! What nothing needs goes, and nothing else: uploads, commits, copies and deletions by chance, with the collector at any
//! moment in between and beside them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use allmende::clock::Clock;
use allmende::git::Oid;
use allmende::git::refs::Change as RefChange;
use allmende::repo::changes::{Change, Commit, squash};
use allmende::repo::ops::{self, Wanted};
use allmende::repo::{Kind, Repo, RepoError, Settings, cited, large};
use allmende::xet::check::check;
use allmende::xet::collect::{How, Place, Report, collect};
use allmende::xet::copy;
use allmende::xet::ingest::Ingest;
use allmende::xet::read::read;
use allmende_core::digest::Digest;
use futures::TryStreamExt as _;

use super::{Person, World, noise};
use crate::http::Hub;
use crate::stores::{NOW, Store};

const AGE: Duration = Duration::from_secs(1_000);

async fn gc(world: &World, dry_run: bool) -> Report {
    let app = &world.hub.app;
    let place = Place { db: &app.db, blobs: &app.blobs, git: &app.git };
    collect(place, How { min_age: AGE, dry_run, now: &|| app.clock.now() }).await.unwrap()
}

pub async fn put(world: &World, repo: &Repo, bytes: &[u8]) -> Digest {
    let mut ingest = Ingest::begin(&world.hub.app, repo).await.unwrap();
    ingest.push(bytes).await.unwrap();
    ingest.finish().await.unwrap().sha256
}

pub async fn commit(
    world: &World,
    who: &Person,
    repo: &Repo,
    branch: &str,
    changes: Vec<Change>,
) -> Result<Oid, RepoError> {
    let seen = world.session(who, repo).seen;
    let mut commit = Commit::begin(&world.hub.app, &seen, &who.principal, branch, None, "a change").await?;
    for change in changes {
        commit.take(change).await?;
    }
    commit.finish().await
}

pub fn large_file(path: &str, sha256: Digest) -> Change {
    Change::PutLarge { path: path.parse().unwrap(), sha256 }
}

pub async fn reads(world: &World, repo: &Repo, sha256: &Digest) -> Result<Vec<u8>, String> {
    let reader = read(&world.hub.app, repo, sha256, None).await.map_err(|e| e.to_string())?;
    let pieces: Vec<_> = reader.stream.try_collect().await.map_err(|e| e.to_string())?;
    Ok(pieces.concat())
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// What must be there: of each repository the branches, of each branch the files.
#[derive(Default)]
struct Expected {
    repo: Option<Repo>,
    branches: BTreeMap<String, BTreeMap<String, Digest>>,
    /// What was sent and is not committed, with when.
    sent: Vec<(Digest, i64)>,
}

struct Play<'a> {
    world: &'a World,
    ada: &'a Person,
    chance: Chance,
    contents: Vec<Vec<u8>>,
    repos: Vec<Expected>,
    made: usize,
}

impl Play<'_> {
    fn now(&self) -> i64 {
        self.world.hub.app.clock.now().0
    }

    async fn step(&mut self) {
        let at = self.chance.below(self.repos.len());
        let Some(repo) = self.repos[at].repo.clone() else {
            self.made += 1;
            let repo = self.world.repo(self.ada, &self.ada.account, &format!("r{}", self.made)).await;
            let branches = BTreeMap::from([("main".to_owned(), BTreeMap::new())]);
            self.repos[at] = Expected { repo: Some(repo), branches, sent: Vec::new() };
            return;
        };
        let (app, seen) = (&self.world.hub.app, self.world.session(self.ada, &repo).seen);
        let branch = {
            let names: Vec<String> = self.repos[at].branches.keys().cloned().collect();
            names[self.chance.below(names.len())].clone()
        };
        match self.chance.below(20) {
            0..=5 => {
                // Beside the collector: the same bytes may just be going.
                let some = self.chance.below(self.contents.len());
                let sha256 = if self.chance.below(2) == 0 {
                    put(self.world, &repo, &self.contents[some]).await
                } else {
                    tokio::join!(put(self.world, &repo, &self.contents[some]), gc(self.world, false)).0
                };
                let now = self.now();
                self.repos[at].sent.push((sha256, now));
            }
            6..=10 => {
                let Some((sha256, sent_at)) = self.repos[at].sent.pop() else { return };
                let path = format!("f{}.bin", self.chance.below(3));
                let change = vec![large_file(&path, sha256)];
                let done = if self.chance.below(2) == 0 {
                    commit(self.world, self.ada, &repo, &branch, change).await
                } else {
                    tokio::join!(commit(self.world, self.ada, &repo, &branch, change), gc(self.world, false)).0
                };
                match done {
                    Ok(_) => drop(self.repos[at].branches.get_mut(&branch).unwrap().insert(path, sha256)),
                    // Sent too long ago: it is refused, not lost later.
                    Err(error) => {
                        assert!(self.now() - sent_at > AGE.as_millis() as i64, "{error}");
                    }
                }
            }
            11 => {
                let Some(path) = self.repos[at].branches[&branch].keys().next().cloned() else { return };
                let delete = Change::Delete { path: path.parse().unwrap(), folder: false };
                commit(self.world, self.ada, &repo, &branch, vec![delete]).await.unwrap();
                self.repos[at].branches.get_mut(&branch).unwrap().remove(&path);
            }
            12 => {
                squash(app, &seen, &self.ada.principal, &branch, "all").await.unwrap();
            }
            13 => {
                let name = format!("b{}", self.chance.below(3));
                let (git, full) = (seen.git(app), format!("refs/heads/{name}"));
                let new = git.resolve(&branch).await.unwrap();
                if git.change_refs(&[RefChange { name: full, old: Oid::ZERO, new }]).await.is_ok() {
                    let files = self.repos[at].branches[&branch].clone();
                    self.repos[at].branches.insert(name, files);
                }
            }
            14 if branch != "main" => {
                seen.git(app).delete_ref(&format!("refs/heads/{branch}")).await.unwrap();
                self.repos[at].branches.remove(&branch);
            }
            15 => {
                if let Some(sha256) = self.repos[at].branches[&branch].values().next().copied() {
                    cited::forget(app, &seen, &[sha256], true).await.unwrap();
                    for files in self.repos[at].branches.values_mut() {
                        files.retain(|_, own| *own != sha256);
                    }
                    self.repos[at].sent.retain(|(own, _)| *own != sha256);
                }
            }
            16 => {
                let to = self.chance.below(self.repos.len());
                let Some(other) = self.repos[to].repo.clone() else { return };
                if let Some(sha256) = self.repos[at].branches[&branch].values().next().copied() {
                    tokio::join!(copy::file(app, &repo, &other, &sha256), gc(self.world, false)).0.unwrap();
                    let now = self.now();
                    self.repos[to].sent.push((sha256, now));
                }
            }
            17 => {
                let Some(to) = self.repos.iter().position(|one| one.repo.is_none()) else { return };
                self.made += 1;
                let wanted = Wanted {
                    kind: Kind::Model,
                    owner: self.ada.account.clone(),
                    name: format!("r{}", self.made).parse().unwrap(),
                    private: None,
                    settings: Settings::default(),
                };
                let made = copy::repository(app, &self.ada.principal, &repo, wanted);
                let made = tokio::join!(made, gc(self.world, false)).0.unwrap();
                let branches = self.repos[at].branches.clone();
                self.repos[to] = Expected { repo: Some(made), branches, sent: Vec::new() };
            }
            18 => {
                ops::remove(app, &repo).await.unwrap();
                self.repos[at] = Expected::default();
            }
            _ => {
                app.clock.advance_ms(self.chance.below(AGE.as_millis() as usize * 2 / 3) as i64);
                gc(self.world, false).await;
            }
        }
    }

    /// Everything that a branch has reads back, and the store is sound.
    async fn look(&self, when: &str) {
        for (repo, branches) in self.repos.iter().filter_map(|one| Some((one.repo.as_ref()?, &one.branches))) {
            for (branch, files) in branches {
                for (path, sha256) in files {
                    let bytes = reads(self.world, repo, sha256).await;
                    let bytes = bytes.unwrap_or_else(|e| panic!("{when}: {} {branch} {path}: {e}", repo.name));
                    assert_eq!(Digest::of(&bytes), *sha256);
                }
            }
        }
        let report = check(&self.world.hub.app.db, &self.world.hub.app.blobs).await.unwrap();
        assert!(report.findings.is_empty(), "{when}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_in_whatever_order_nothing_that_is_needed_goes() {
    for seed in 1..=4_u64 {
        let store = if seed == 4 { Some(Store::postgres().await) } else { None };
        let settings = store.as_ref().map(|store| ("database_url", store.options.url.as_str()));
        let world = World { hub: Hub::start(settings.as_slice()).await };
        let ada = world.person("ada").await;
        // Contents that share much with each other.
        let base = noise(300_000, seed);
        let mut contents: Vec<Vec<u8>> = (0..4).map(|n| [&base[..], &noise(60_000, 100 + n)[..]].concat()).collect();
        contents.extend((0..3).map(|n| noise(120_000, 200 + n)));
        let chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let repos = (0..3).map(|_| Expected::default()).collect();
        let mut play = Play { world: &world, ada: &ada, chance, contents, repos, made: 0 };
        for n in 0..90 {
            play.step().await;
            if n % 15 == 14 {
                play.look(&format!("seed {seed}, step {n}")).await;
            }
        }
        // In the end nothing stays of what was deleted.
        for one in std::mem::take(&mut play.repos) {
            if let Some(repo) = one.repo {
                ops::remove(&world.hub.app, &repo).await.unwrap();
            }
        }
        for _ in 0..3 {
            gc(&world, false).await;
            world.hub.app.clock.advance_ms(AGE.as_millis() as i64 + 1);
        }
        assert_eq!(world.stored_bytes(), 0, "seed {seed}");
        assert_eq!(gc(&world, false).await, Report::default());
        world.hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_is_told_before_and_has_a_reason() {
    told_before(World::still().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_from_s3_is_told_before_and_has_a_reason() {
    told_before(World::in_s3(Clock::test(NOW)).await).await;
}

async fn told_before(world: World) {
    let ada = world.person("ada").await;
    let repo = world.repo(&ada, &ada.account, "model").await;
    let (kept, left) = (noise(200_000, 1), noise(300_000, 2));
    let (a, b) = (put(&world, &repo, &kept).await, put(&world, &repo, &left).await);
    commit(&world, &ada, &repo, "main", vec![large_file("a.bin", a), large_file("b.bin", b)]).await.unwrap();
    let delete = Change::Delete { path: "b.bin".parse().unwrap(), folder: false };
    commit(&world, &ada, &repo, "main", vec![delete]).await.unwrap();
    assert_eq!(gc(&world, false).await, Report::default(), "an earlier commit cites it");
    let seen = world.session(&ada, &repo).seen;
    squash(&world.hub.app, &seen, &ada.principal, "main", "one").await.unwrap();
    let told = gc(&world, true).await;
    assert_eq!((told.removed.count, told.waiting.count), (0, 1), "{told:?}");
    assert_eq!((told.later[0].name.as_str(), told.later[0].since), (b.hex().as_str(), None));
    gc(&world, false).await;
    world.hub.app.clock.advance_ms(AGE.as_millis() as i64 + 1);
    let told = gc(&world, true).await;
    assert_eq!((told.items[0].kind, told.items[0].why), ("file", "no branch, tag or pull request leads to it"));
    assert_eq!(reads(&world, &repo, &b).await.unwrap(), left, "a dry run removes nothing");
    // Whoever cites it at the last moment has it.
    let cited = large::cite(&world.hub.app.db, &repo, &b).await.unwrap();
    assert_eq!(cited, Some(300_000));
    assert_eq!(gc(&world, false).await.removed.count, 0);
    world.hub.app.clock.advance_ms(AGE.as_millis() as i64 + 1);
    let gone = gc(&world, false).await;
    assert_eq!((gone.removed.count, gone.items[0].kind), (1, "file"));
    assert!(reads(&world, &repo, &b).await.is_err());
    world.hub.app.clock.advance_ms(AGE.as_millis() as i64 + 1);
    let gone = gc(&world, false).await;
    assert_eq!((gone.removed.count, gone.items[0].kind, gone.items[0].why), (1, "xorb", "no file cites it"));
    assert_eq!(gone.removed.bytes, gone.items[0].bytes);
    assert!(world.held_bytes().await < 210_000);
    assert_eq!(reads(&world, &repo, &a).await.unwrap(), kept);
    // It may come again.
    put(&world, &repo, &left).await;
    assert_eq!(reads(&world, &repo, &b).await.unwrap(), left);
    let report = check(&world.hub.app.db, &world.hub.app.blobs).await.unwrap();
    assert_eq!((report.findings.len(), report.uncited), (0, 0), "{report:?}");
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crashes_leave_goes_when_it_is_old() {
    let world = World::still().await;
    let ada = world.person("ada").await;
    let repo = world.repo(&ada, &ada.account, "model").await;
    let bytes = noise(100_000, 7);
    let sha256 = put(&world, &repo, &bytes).await;
    commit(&world, &ada, &repo, "main", vec![large_file("a.bin", sha256)]).await.unwrap();
    let data = world.hub.dir.path().join("data");
    let shelf = data.join("blobs/xet").join(repo.domain()).join("ab");
    let old = SystemTime::now() - 2 * AGE;
    let stray = |ending: &str| shelf.join(format!("{}-{ending}", "ab".repeat(32)));
    std::fs::create_dir_all(&shelf).unwrap();
    for name in ["old", "young"] {
        std::fs::write(stray(name), [0; 1_000]).unwrap();
    }
    std::fs::File::open(stray("old")).unwrap().set_modified(old).unwrap();
    let folder = |id: &str| data.join("git").join(&id[..2]).join(format!("{id}.git"));
    for (id, is_old) in [("aa0123456789abcdef012345", true), ("aa0123456789abcdef012346", false)] {
        std::fs::create_dir_all(folder(id)).unwrap();
        if is_old {
            std::fs::File::open(folder(id)).unwrap().set_modified(old).unwrap();
        }
    }
    std::fs::File::open(folder(&repo.id)).unwrap().set_modified(old).unwrap();
    let gone = gc(&world, false).await;
    let kinds: Vec<_> = gone.items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds, ["repository", "object"], "{gone:?}");
    assert!(!stray("old").exists() && stray("young").exists());
    assert!(!folder("aa0123456789abcdef012345").exists() && folder("aa0123456789abcdef012346").exists());
    assert_eq!(reads(&world, &repo, &sha256).await.unwrap(), bytes);
    // With another database, which knows nothing, nothing is unneeded.
    let store = Store::sqlite();
    let other = store.open().await;
    let app = &world.hub.app;
    let place = Place { db: &other, blobs: &app.blobs, git: &app.git };
    let how = How { min_age: Duration::ZERO, dry_run: false, now: &|| app.clock.now() };
    assert!(collect(place, how).await.unwrap_err().to_string().contains("is it the right one?"));
    // Of a history that cannot be read nothing is believed to be unneeded.
    std::fs::remove_dir_all(folder(&repo.id).join("objects")).unwrap();
    for _ in 0..3 {
        world.hub.app.clock.advance_ms(AGE.as_millis() as i64 + 1);
        let report = gc(&world, false).await;
        assert_eq!((report.removed.count, report.skipped.len()), (0, 1), "{report:?}");
    }
    assert_eq!(reads(&world, &repo, &sha256).await.unwrap(), bytes);
    world.hub.stop().await;
}
