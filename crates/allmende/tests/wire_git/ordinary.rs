//! What people do every day: clone, push, fetch, meet each other.

use allmende::account::Rights;
use allmende::repo::Kind;
use allmende::repo::ops::MAIN;

use super::{Desk, Someone, address};
use crate::http::Hub;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_is_cloned_and_fetched_by_every_version_of_the_protocol() {
    let hub = Hub::start(&[]).await;
    let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
    let repo = carla.creates(&hub.app, Kind::Model, "bert", true).await;
    let desk = Desk::new();
    desk.clones(&address(&hub, &carla, "carla/bert"), "one").await.fine();
    desk.commits("one", "README.md", b"---\nlicense: apache-2.0\ntags: [pushed]\n---\n# Pushed\n").await;
    desk.git("one", &["push", "--quiet"]).await.fine();
    let head = desk.git("one", &["rev-parse", "HEAD"]).await.fine();
    let git = hub.app.git.repo(&repo.id);
    assert_eq!(git.resolve(MAIN).await.unwrap().to_string(), head);
    let index = allmende::repo::store::head(&mut hub.app.db.read().await.unwrap(), &repo.id).await.unwrap();
    assert!(index.contains("pushed"), "the index of the head is renewed: {index}");
    for (version, path) in [("0", "carla/bert"), ("1", "carla/bert.git"), ("2", "CARLA/Bert.git")] {
        let place = format!("clone-{version}");
        let (url, version) = (address(&hub, &carla, path), format!("protocol.version={version}"));
        desk.git("", &["-c", &version, "clone", "--quiet", &url, &place]).await.fine();
        assert_eq!(desk.git(&place, &["rev-parse", "HEAD"]).await.fine(), head);
    }
    // Enough that the client packs what it says it has.
    desk.git("one", &["checkout", "--quiet", "-b", "side"]).await.fine();
    for i in 0..40 {
        desk.git("one", &["commit", "--quiet", "--allow-empty", "-m", &i.to_string()]).await.fine();
    }
    desk.git("one", &["push", "--quiet", "origin", "side"]).await.fine();
    desk.git("clone-0", &["commit", "--quiet", "--allow-empty", "-m", "own"]).await.fine();
    for i in 0..60 {
        desk.git("clone-0", &["commit", "--quiet", "--allow-empty", "-m", &format!("own {i}")]).await.fine();
    }
    for version in ["0", "2"] {
        let version = format!("protocol.version={version}");
        desk.git("clone-0", &["-c", &version, "fetch", "--quiet", "origin", "side:got"]).await.fine();
        desk.git("clone-0", &["branch", "--quiet", "-D", "got"]).await.fine();
    }
    let partial = ["clone", "--quiet", "--depth=1", "--filter=blob:none", &address(&hub, &carla, "carla/bert"), "part"];
    desk.git("", &partial).await.fine();
    desk.commits("part", "more.txt", b"from a clone without its past\n").await;
    desk.git("part", &["push", "--quiet"]).await.fine();
    let checked = git.run(["fsck", "--strict", "--no-dangling"], &[]).await;
    assert!(checked.is_ok(), "{checked:?}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datasets_spaces_and_code_stand_below_their_words() {
    let hub = Hub::start(&[]).await;
    let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
    let desk = Desk::new();
    for (kind, prefix) in
        [(Kind::Dataset, "datasets"), (Kind::Space, "spaces"), (Kind::Code, "codes"), (Kind::Kernel, "kernels")]
    {
        carla.creates(&hub.app, kind, "thing", true).await;
        desk.clones(&address(&hub, &carla, &format!("{prefix}/carla/thing")), prefix).await.fine();
        desk.commits(prefix, "file.txt", prefix.as_bytes()).await;
        desk.git(prefix, &["push", "--quiet"]).await.fine();
        desk.clones(&address(&hub, &carla, "carla/thing"), "none").await.refused("not found");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_or_write_does_not() {
    let hub = Hub::start(&[]).await;
    let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
    let reads = Someone::with_token(&hub.app, carla.principal.account.clone(), "2", Rights::Read).await;
    let mallory = Someone::new(&hub.app, "mallory", Rights::Write).await;
    carla.creates(&hub.app, Kind::Model, "closed", true).await;
    carla.creates(&hub.app, Kind::Model, "open", false).await;
    let desk = Desk::new();
    let plain = |path: &str| format!("{}/{path}", hub.url);
    // Without a token git is asked for one; what is not there looks the same.
    for path in ["carla/closed", "carla/nothing", "nobody/closed"] {
        desk.clones(&plain(path), "none").await.refused("could not read Username");
    }
    desk.clones(&address(&hub, &mallory, "carla/closed"), "none").await.refused("not found");
    desk.clones(&address(&hub, &mallory, "carla/nothing"), "none").await.refused("not found");
    let wrong = Someone { secret: "hf_wrongwrongwrongwrongwrong".into(), ..carla.clone() };
    desk.clones(&address(&hub, &wrong, "carla/closed"), "none").await.refused("Authentication failed");
    desk.clones(&plain("carla/open"), "open").await.fine();
    desk.commits("open", "a.txt", b"a").await;
    desk.git("open", &["push"]).await.refused("could not read Username");
    let push = |who: &Someone| address(&hub, who, "carla/open");
    desk.git("open", &["push", &push(&mallory)]).await.refused("403");
    desk.git("open", &["push", &push(&reads)]).await.refused("You may not write to this repository");
    desk.clones(&address(&hub, &reads, "carla/closed"), "closed").await.fine();
    // A bearer token, as scripts send it.
    let bearer = format!("http.extraHeader=Authorization: Bearer {}", carla.secret);
    desk.git("open", &["-c", &bearer, "push", "--quiet"]).await.fine();
    let old = reqwest::get(plain("carla/open/info/refs")).await.unwrap();
    assert_eq!(old.status(), 403, "the protocol without service is not spoken");
    let http = allmende::tls::client(&hub.url, &allmende::tls::Trust::System).unwrap();
    let odd = http.post(plain("carla/open/git-upload-pack")).body("0000").send().await.unwrap();
    assert_eq!(odd.status(), 415);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_push_at_once_one_wins_and_main_only_grows() {
    let hub = Hub::start(&[]).await;
    let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
    let repo = carla.creates(&hub.app, Kind::Code, "tool", true).await;
    let desk = Desk::new();
    let url = address(&hub, &carla, "codes/carla/tool");
    for place in ["one", "two"] {
        desk.clones(&url, place).await.fine();
        desk.commits(place, &format!("{place}.txt"), place.as_bytes()).await;
    }
    let (one, two) = tokio::join!(desk.git("one", &["push"]), desk.git("two", &["push"]));
    assert!(one.ok ^ two.ok, "one wins: {one:?} {two:?}");
    let late = if one.ok { "two" } else { "one" };
    desk.git(late, &["push"]).await.refused("rejected");
    // Main only grows, whatever the client is told to do.
    desk.git(late, &["push", "--force"]).await.refused("the history of main only grows");
    desk.git(late, &["push", "origin", ":main"]).await.refused("main cannot be deleted");
    desk.git(late, &["pull", "--quiet", "--no-rebase", "--no-edit"]).await.fine();
    desk.git(late, &["push"]).await.fine();
    // Other branches and tags are their owners'.
    desk.git("one", &["fetch", "--quiet"]).await.fine();
    desk.git("one", &["tag", "-a", "v1", "-m", "first"]).await.fine();
    desk.git("one", &["push", "--quiet", "--tags", "origin", "HEAD:refs/heads/side"]).await.fine();
    desk.git("one", &["commit", "--quiet", "--amend", "-m", "other"]).await.fine();
    desk.git("one", &["push", "origin", "HEAD:side"]).await.refused("rejected");
    desk.git("one", &["push", "--quiet", "--force", "origin", "HEAD:side"]).await.fine();
    desk.git("one", &["push", "--quiet", "origin", ":side", ":v1"]).await.fine();
    // All or none, if that is asked for; each by itself otherwise.
    desk.git("one", &["push", "--force", "--atomic", "origin", "HEAD:a", "HEAD:main"]).await.refused("another ref");
    desk.git("one", &["push", "--force", "origin", "HEAD:b", "HEAD:main"]).await.refused("only grows");
    let git = hub.app.git.repo(&repo.id);
    let names: Vec<_> = git.refs("refs/").await.unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["refs/heads/b", "refs/heads/main"]);
    assert!(git.run(["fsck", "--strict", "--no-dangling"], &[]).await.is_ok());
    hub.stop().await;
}
