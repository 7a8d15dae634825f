//! A hub that dies in the middle of a move of refs: what follows from it is seen to, once, by whoever finds the note.

use allmende::account::Rights;
use allmende::app::App;
use allmende::clock::Clock;
use allmende::config::Config;
use allmende::repo::Kind;
use allmende::repo::card::Head;
use allmende::repo::moving::heal;
use allmende::repo::reindex::{Place, reindex};
use serde_json::json;

use super::process::{HubProcess, shut};
use crate::wire_git::Someone;

async fn opened(hub: &HubProcess) -> App {
    let config = Config { name: "hub.test".into(), ..Config::in_dir(&hub.dir).unwrap() };
    allmende::hub::open(config, Clock::system()).await.unwrap()
}

async fn count(app: &App, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut *app.db.read().await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_from_a_commit_is_seen_to_wherever_the_hub_died() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path()).with(&["--outbound-networks", "127.0.0.0/8"]);
    let app = opened(&hub).await;
    let carla = Someone::new(&app, "carla", Rights::Write).await;
    let repo = carla.creates(&app, Kind::Model, "bert", true).await;
    shut(app).await;
    let http = reqwest::Client::new();
    hub.start(None);
    // Nobody listens there: deliveries stay.
    let hook =
        json!({ "url": "http://127.0.0.1:9/", "domains": ["repo"], "watched": [{ "type": "user", "name": "carla" }] });
    let made = http.post(format!("{}/api/settings/webhooks", hub.url())).bearer_auth(&carla.secret).json(&hook);
    assert_eq!(made.send().await.unwrap().status(), 200);
    hub.kill();
    let (mut told, mut gates) = (0, 0);
    for point in allmende::faults::REF_POINTS {
        assert!(hub.start(Some(point)));
        let header = json!({ "key": "header", "value": { "summary": point } });
        let file = json!({ "key": "file", "value": { "path": format!("{point}.txt"), "content": point } });
        let commit = http.post(format!("{}/api/models/carla/bert/commit/main", hub.url())).bearer_auth(&carla.secret);
        let answer = commit.body(format!("{header}\n{file}")).send().await;
        assert!(answer.is_err(), "{point}: the hub died");
        hub.kill();
        let app = opened(&hub).await;
        let git = app.git.repo(&repo.id);
        let standing = git.resolve("main").await.unwrap();
        let moved = git.tree(standing, None, true).await.unwrap().iter().any(|e| e.path == format!("{point}.txt"));
        assert_eq!(moved, *point != "refs.noted", "{point}");
        assert_eq!(count(&app, "SELECT COUNT(*) FROM ref_moves").await, 1, "{point}");
        told += i64::from(moved);
        gates += u64::from(!moved);
        assert_eq!(heal(&app, app.clock.now()).await.unwrap(), 1, "{point}");
        assert_eq!(heal(&app, app.clock.now()).await.unwrap(), 0, "{point}: once");
        assert_eq!(count(&app, "SELECT COUNT(*) FROM ref_moves").await, 0, "{point}");
        let told_of = "SELECT (SELECT COUNT(*) FROM repo_events) + (SELECT COUNT(*) FROM webhook_deliveries)";
        assert_eq!(count(&app, told_of).await, told, "{point}: told once");
        let head = allmende::repo::store::head(&mut app.db.read().await.unwrap(), &repo.id).await.unwrap();
        assert_eq!(serde_json::from_str::<Head>(&head).unwrap().sha, standing.to_string(), "{point}");
        let place = Place { db: &app.db, git: &app.git, now: &|| app.clock.now(), dry_run: true };
        let report = reindex(place, None, &|_| ()).await.unwrap();
        assert_eq!((report.repositories, report.wrong, report.missing), (1, vec![], vec![]), "{point}");
        // What had not moved cannot move any more: the gate that it was begun through is closed.
        let names = std::fs::read_dir(git.dir().join("gates")).unwrap().map(|e| e.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let open: Vec<String> = names.filter(|name| name.starts_with("open.")).collect();
        assert_eq!(open, [format!("open.{}", 1 + gates)], "{point}");
        shut(app).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_nobody_noted_is_noted_and_not_made_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path());
    let app = opened(&hub).await;
    let carla = Someone::new(&app, "carla", Rights::Write).await;
    let repo = carla.creates(&app, Kind::Model, "bert", true).await;
    shut(app).await;
    let http = reqwest::Client::new();
    let post = async |hub: &HubProcess, path: &str, body: String| {
        let request = http.post(format!("{}/api/models/carla/bert/{path}", hub.url())).bearer_auth(&carla.secret);
        let answer = request.header("content-type", "application/json").body(body).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap_or_default()))
    };
    hub.start(None);
    let header = json!({ "key": "header", "value": { "summary": "a proposal" } });
    let file = json!({ "key": "file", "value": { "path": "a.txt", "content": "a" } });
    let (status, _) = post(&hub, "commit/main?create_pr=1", format!("{header}\n{file}")).await.unwrap();
    assert_eq!(status, 200);
    hub.kill();
    assert!(hub.start(Some("refs.indexed")));
    assert!(post(&hub, "discussions/1/merge", "{}".to_owned()).await.is_none(), "the hub died");
    hub.kill();
    hub.start(None);
    let git = allmende::git::Git::open(&hub.dir.join("git")).await.unwrap().repo(&repo.id);
    let merged = git.resolve("main").await.unwrap();
    let (status, answer) = post(&hub, "discussions/1/merge", "{}".to_owned()).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(git.resolve("main").await.unwrap(), merged, "it was merged already");
    let (status, _) = post(&hub, "discussions/1/merge", "{}".to_owned()).await.unwrap();
    assert_eq!(status, 403, "it is over");
}
