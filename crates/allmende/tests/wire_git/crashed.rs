//! A hub that dies in the middle of a push.

use std::time::Duration;

use allmende::account::Rights;
use allmende::app::App;
use allmende::clock::Clock;
use allmende::config::Config;
use allmende::exchange::webhooks::{Target, Wanted, Watched, create, deliveries, round};
use allmende::git::{Git, GitRepo};
use allmende::repo::{Kind, Repo};

use super::{Desk, Someone, noise};
use crate::crash::process::HubProcess;

/// A hub with somebody and a repository, not yet running.
async fn founded(dir: &std::path::Path) -> (HubProcess, Someone, Repo) {
    let hub = HubProcess::new(dir);
    let app = opened(&hub, Clock::system()).await;
    let carla = Someone::new(&app, "carla", Rights::Write).await;
    let repo = carla.creates(&app, Kind::Model, "bert", true).await;
    shut(app).await;
    (hub, carla, repo)
}

/// The hub in this process, while it does not run in its own.
async fn opened(hub: &HubProcess, clock: Clock) -> App {
    let config = Config { name: "hub.test".into(), ..Config::in_dir(&hub.dir).unwrap() };
    allmende::hub::open(config, clock).await.unwrap()
}

async fn shut(app: App) {
    app.closing.cancel();
    app.tasks.close();
    app.tasks.wait().await;
    app.db.close().await;
}

/// A webhook of carla's whose deliveries are written down, and sent nowhere.
async fn watched(hub: &HubProcess, carla: &Someone) -> String {
    let app = opened(hub, Clock::system()).await;
    let watched = vec![Watched { kind: "model".to_owned(), name: "carla/bert".to_owned() }];
    let wanted = Wanted { target: Some(Target::Job("none".to_owned())), watched, ..Wanted::default() };
    let made = create(&app, &carla.principal, wanted).await.unwrap();
    shut(app).await;
    made.id
}

async fn at_rest(hub: &HubProcess, repo: &Repo) -> GitRepo {
    let git = Git::open(&hub.dir.join("git")).await.unwrap().repo(&repo.id);
    let checked = git.run(["fsck", "--strict", "--full", "--no-dangling"], &[]).await;
    assert!(checked.is_ok(), "{checked:?}");
    git
}

fn url(hub: &HubProcess, carla: &Someone) -> String {
    hub.url().replace("://", &format!("://carla:{}@", carla.secret)) + "/carla/bert"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hub, carla, repo) = founded(dir.path()).await;
    let webhook = watched(&hub, &carla).await;
    hub.start(None);
    let desk = Desk::new();
    desk.clones(&url(&hub, &carla), "one").await.fine();
    let mut stood = Vec::new();
    let mut head = desk.git("one", &["rev-parse", "HEAD"]).await.fine();
    for point in allmende::faults::PUSH_POINTS {
        hub.kill();
        assert!(hub.start(Some(point)));
        desk.commits("one", &format!("{point}.txt"), point.as_bytes()).await;
        let pushed = desk.git("one", &["push"]).await;
        assert!(!pushed.ok, "{point}: the hub died");
        hub.kill();
        let git = at_rest(&hub, &repo).await;
        let wanted = desk.git("one", &["rev-parse", "HEAD"]).await.fine();
        let there = git.resolve("main").await.unwrap().to_string();
        assert_eq!(there, if point.ends_with(".after_refs") { wanted.clone() } else { head.clone() }, "{point}");
        assert!(hub.start(None));
        desk.git("one", &["push"]).await.fine();
        assert_eq!(git.resolve("main").await.unwrap().to_string(), wanted);
        stood.push(wanted.clone());
        head = wanted;
    }
    hub.kill();
    at_rest(&hub, &repo).await;
    // Whatever main led to was told, however the hub died: at the latest by the next one, which asks the refs.
    let later = Clock::test(Clock::system().now().plus_ms(120_000));
    let app = opened(&hub, later).await;
    while round(&app).await.unwrap() > 0 {}
    let told = deliveries(&mut app.db.read().await.unwrap(), &webhook, None, 100).await.unwrap();
    let told = |oid: &str| told.iter().any(|one| one.payload.contains(&format!("\"newSha\":\"{oid}\"")));
    assert!(stood.iter().all(|oid| told(oid)), "{stood:?}");
    shut(app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_killed_at_any_time_keeps_its_repositories_sound() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hub, carla, repo) = founded(dir.path()).await;
    hub.start(None);
    let desk = Desk::new();
    desk.clones(&url(&hub, &carla), "one").await.fine();
    for round in 0..6_u64 {
        let bytes = noise(round + 10, 8 << 20);
        desk.commits("one", &format!("{round}.txt"), &bytes).await;
        let push = ["push", "--quiet"];
        let push = desk.git("one", &push);
        let kill = async {
            tokio::time::sleep(Duration::from_millis(40 + round * 90)).await;
            hub.kill();
        };
        let (pushed, ()) = tokio::join!(push, kill);
        let git = at_rest(&hub, &repo).await;
        let wanted = desk.git("one", &["rev-parse", "HEAD"]).await.fine();
        let there = git.resolve("main").await.unwrap().to_string();
        assert!(!pushed.ok || there == wanted, "what was acknowledged is there");
        assert!(hub.start(None));
        desk.git("one", &["push", "--quiet"]).await.fine();
        assert_eq!(git.resolve("main").await.unwrap().to_string(), wanted);
    }
    hub.kill();
    let git = at_rest(&hub, &repo).await;
    // What the kills left is swept once it is old.
    let all = Git::open(&hub.dir.join("git")).await.unwrap();
    all.sweep_incoming(Duration::ZERO).await.unwrap();
    let left = std::fs::read_dir(hub.dir.join("git/incoming")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0);
    drop(git);
}
