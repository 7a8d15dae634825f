//! The Hub's API where the clients' own tests do not look: rights, refusals, and what two people do at once.

use allmende::account::{Account, AccountError, Kind, Rights, Role, store as accounts, token};
use allmende::transaction;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::http::Hub;
use crate::stores::NOW;

struct Someone {
    token: String,
}

/// Makes a user with a token of these rights, and makes it belong to an organization if one is named.
async fn someone(hub: &Hub, name: &str, rights: Rights, organization: Option<(&Account, Role)>) -> Someone {
    let secret = token::new_secret().unwrap();
    let made: Result<(), AccountError> = transaction!(hub.app.db, tx => {
        let user = accounts::create(tx, Kind::User, &name.parse().unwrap(), name, None, false, NOW).await?;
        if let Some((organization, role)) = organization {
            accounts::set_member(tx, organization, &user, role).await?;
        }
        token::issue(tx, &user, &secret, "test", &rights, None, NOW).await.map(|_| ())
    });
    made.unwrap();
    Someone { token: secret.to_string() }
}

async fn organization(hub: &Hub, name: &str) -> Account {
    let made: Result<Account, AccountError> = transaction!(hub.app.db, tx => {
        accounts::create(tx, Kind::Organization, &name.parse().unwrap(), name, None, true, NOW).await
    });
    made.unwrap()
}

async fn ask(hub: &Hub, who: Option<&Someone>, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let answer = send(hub, who, method, path, body.map(|body| body.to_string())).await;
    (answer.status(), answer.json().await.unwrap_or(Value::Null))
}

async fn send(hub: &Hub, who: Option<&Someone>, method: Method, path: &str, body: Option<String>) -> Response {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", hub.url));
    if let Some(who) = who {
        request = request.bearer_auth(&who.token);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body);
    }
    request.send().await.unwrap()
}

fn put(path: &str, text: &str) -> Value {
    json!({ "key": "file", "value": { "path": path, "content": STANDARD.encode(text), "encoding": "base64" } })
}

async fn commit(hub: &Hub, who: &Someone, place: &str, parent: Option<&str>, lines: &[Value]) -> (StatusCode, Value) {
    let header = json!({ "key": "header", "value": { "summary": "a change", "parentCommit": parent } });
    let body: String = std::iter::once(&header).chain(lines).map(|line| format!("{line}\n")).collect();
    let answer = send(hub, Some(who), Method::POST, &format!("/api/models/{place}"), Some(body)).await;
    (answer.status(), answer.json().await.unwrap_or(Value::Null))
}

async fn create(hub: &Hub, who: &Someone, name: &str, private: bool) {
    let visibility = if private { "private" } else { "public" };
    let body = json!({ "name": name, "type": "model", "visibility": visibility });
    assert_eq!(ask(hub, Some(who), Method::POST, "/api/repos/create", Some(body)).await.0, 200);
}

#[tokio::test]
async fn what_is_private_is_not_there_for_others() {
    let hub = Hub::start(&[]).await;
    let (ada, eve) = (someone(&hub, "ada", Rights::Write, None).await, someone(&hub, "eve", Rights::Write, None).await);
    create(&hub, &ada, "secret", true).await;
    assert_eq!(commit(&hub, &ada, "ada/secret/commit/main", None, &[put("a.txt", "hidden")]).await.0, 200);
    for path in [
        "/api/models/ada/secret",
        "/api/models/ada/secret/tree/main",
        "/api/models/ada/secret/refs",
        "/api/models/ada/secret/commits/main",
        "/api/models/ada/secret/discussions",
        "/ada/secret/resolve/main/a.txt",
    ] {
        let mine = send(&hub, Some(&ada), Method::GET, path, None).await;
        assert_eq!(mine.status(), 200, "{path}");
        let nothing = path.replace("secret", "nothing");
        for (who, status) in [(Some(&eve), 404), (None, 401)] {
            let theirs = send(&hub, who, Method::GET, path, None).await;
            assert_eq!(
                (theirs.status().as_u16(), theirs.headers()["x-error-code"].to_str().unwrap()),
                (status, "RepoNotFound")
            );
            // What is hidden and what is not there look alike.
            let other = send(&hub, who, Method::GET, &nothing, None).await;
            assert_eq!(theirs.status(), other.status(), "{path}");
            assert_eq!(theirs.text().await.unwrap(), other.text().await.unwrap(), "{path}");
        }
    }
    let listed = ask(&hub, Some(&eve), Method::GET, "/api/models", None).await.1;
    assert_eq!(listed, json!([]));
    assert_eq!(ask(&hub, Some(&ada), Method::GET, "/api/models", None).await.1.as_array().unwrap().len(), 1);
    assert_eq!(commit(&hub, &eve, "ada/secret/commit/main", None, &[put("b", "x")]).await.0, 404);
    hub.stop().await;
}

#[tokio::test]
async fn a_token_does_no_more_than_it_says() {
    let hub = Hub::start(&[]).await;
    let north = organization(&hub, "north").await;
    let writer = someone(&hub, "dora", Rights::Write, Some((&north, Role::Write))).await;
    let reader = someone(&hub, "rita", Rights::Read, Some((&north, Role::Admin))).await;
    let body = json!({ "name": "model", "organization": "north" });
    assert_eq!(ask(&hub, Some(&reader), Method::POST, "/api/repos/create", Some(body.clone())).await.0, 403);
    assert_eq!(ask(&hub, Some(&writer), Method::POST, "/api/repos/create", Some(body.clone())).await.0, 200);
    let again = ask(&hub, Some(&writer), Method::POST, "/api/repos/create", Some(body)).await;
    assert_eq!(
        (again.0.as_u16(), again.1["url"].as_str().unwrap()),
        (409, format!("{}/north/model", hub.url).as_str())
    );
    let info = ask(&hub, Some(&reader), Method::GET, "/api/models/north/model", None).await.1;
    assert_eq!(
        (info["id"].as_str(), info["private"].as_bool()),
        (Some("north/model"), Some(true)),
        "as its owner has it"
    );
    assert_eq!(commit(&hub, &reader, "north/model/commit/main", None, &[put("a", "1")]).await.0, 403);
    assert_eq!(commit(&hub, &writer, "north/model/commit/main", None, &[put("a", "1")]).await.0, 200);
    let settings = json!({ "visibility": "public" });
    assert_eq!(
        ask(&hub, Some(&writer), Method::PUT, "/api/models/north/model/settings", Some(settings.clone())).await.0,
        403
    );
    assert_eq!(ask(&hub, Some(&reader), Method::PUT, "/api/models/north/model/settings", Some(settings)).await.0, 403);
    let which = json!({ "name": "model", "organization": "north" });
    assert_eq!(ask(&hub, Some(&writer), Method::DELETE, "/api/repos/delete", Some(which)).await.0, 403);
    let unknown = Someone { token: "hf_nobody_ever_issued_this_token".into() };
    assert_eq!(ask(&hub, Some(&unknown), Method::GET, "/api/models/north/model", None).await.0, 401);
    hub.stop().await;
}

#[tokio::test]
async fn a_commit_is_whole_or_nothing() {
    let hub = Hub::start(&[]).await;
    let ada = someone(&hub, "ada", Rights::Write, None).await;
    create(&hub, &ada, "model", false).await;
    let to = "ada/model/commit/main";
    let first = commit(&hub, &ada, to, None, &[put("a.txt", "1"), put("dir/b.txt", "2")]).await;
    let head = first.1["commitOid"].as_str().unwrap().to_owned();
    let forged = json!({ "key": "lfsFile", "value": { "path": "x.bin", "algo": "sha256", "oid": "ab".repeat(32) } });
    for (line, status) in [
        (put("../x", "1"), 422),
        (put("/etc/passwd", "1"), 422),
        (put(".git/config", "1"), 422),
        (put("a/.GIT/x", "1"), 422),
        (put(".g\u{200c}it/x", "1"), 422),
        (put("a\\..\\b", "1"), 422),
        (forged, 403),
        (json!({ "key": "deletedFile", "value": { "path": "nowhere" } }), 404),
        (json!({ "key": "deletedFolder", "value": { "path": "a.txt/" } }), 404),
        (json!({ "key": "header", "value": { "summary": "again" } }), 400),
        (json!({ "key": "surprise", "value": {} }), 400),
        (json!({ "key": "file", "value": { "path": "x", "content": "%%%", "encoding": "base64" } }), 400),
    ] {
        let answer = commit(&hub, &ada, to, None, &[put("good.txt", "1"), line.clone()]).await;
        assert_eq!(answer.0, status, "{line} {answer:?}");
    }
    let now = ask(&hub, None, Method::GET, "/api/models/ada/model", None).await.1;
    assert_eq!(now["sha"].as_str(), Some(head.as_str()), "nothing of what was refused is there");
    let raced = commit(&hub, &ada, to, Some(&"0".repeat(40)), &[put("c", "3")]).await;
    assert_eq!(raced.0, 412);
    let second =
        commit(&hub, &ada, to, Some(&head[..10]), &[json!({ "key": "deletedFolder", "value": { "path": "dir/" } })])
            .await;
    assert_eq!(second.0, 200, "{second:?}");
    let files = ask(&hub, None, Method::GET, "/api/models/ada/model/tree/main?recursive=true", None).await.1;
    let names: Vec<_> = files.as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(names, [".gitattributes", "a.txt"]);
    hub.stop().await;
}

#[tokio::test]
async fn many_commit_at_once_and_none_is_lost() {
    let hub = Hub::start(&[]).await;
    let ada = someone(&hub, "ada", Rights::Write, None).await;
    create(&hub, &ada, "model", false).await;
    let all = (0..6).map(|i| {
        let (hub, ada) = (&hub, &ada);
        async move { commit(hub, ada, "ada/model/commit/main", None, &[put(&format!("f{i}"), "x")]).await }
    });
    let all: Vec<(StatusCode, Value)> = futures::future::join_all(all).await;
    assert!(all.iter().all(|(status, _)| *status == 200), "{all:?}");
    let files = ask(&hub, None, Method::GET, "/api/models/ada/model/tree/main", None).await.1;
    assert_eq!(files.as_array().unwrap().len(), 7);
    let commits = ask(&hub, None, Method::GET, "/api/models/ada/model/commits/main", None).await.1;
    assert_eq!(commits.as_array().unwrap().len(), 7);
    hub.stop().await;
}

#[tokio::test]
async fn strangers_propose_and_owners_merge() {
    let hub = Hub::start(&[]).await;
    let (ada, eve) = (someone(&hub, "ada", Rights::Write, None).await, someone(&hub, "eve", Rights::Write, None).await);
    let mallory = someone(&hub, "mallory", Rights::Write, None).await;
    create(&hub, &ada, "model", false).await;
    assert_eq!(commit(&hub, &ada, "ada/model/commit/main", None, &[put("a.txt", "one\n")]).await.0, 200);
    assert_eq!(commit(&hub, &eve, "ada/model/commit/main", None, &[put("a.txt", "two\n")]).await.0, 403);
    let proposed = commit(&hub, &eve, "ada/model/commit/main?create_pr=1", None, &[put("a.txt", "two\n")]).await;
    assert_eq!(proposed.1["pullRequestUrl"].as_str(), Some(format!("{}/ada/model/discussions/1", hub.url).as_str()));
    let to_pull = "ada/model/commit/refs%2Fpr%2F1";
    assert_eq!(commit(&hub, &mallory, to_pull, None, &[put("evil", "x")]).await.0, 403, "only its author adds to it");
    assert_eq!(commit(&hub, &eve, to_pull, None, &[put("b.txt", "more\n")]).await.0, 200);
    let merge = |who, num: u32| {
        let hub = &hub;
        async move {
            send(hub, Some(who), Method::POST, &format!("/api/models/ada/model/discussions/{num}/merge"), None)
                .await
                .status()
        }
    };
    assert_eq!(merge(&eve, 1).await, 403);
    // Another one that changes the same line cannot be merged after it.
    let other = commit(&hub, &mallory, "ada/model/commit/main?create_pr=1", None, &[put("a.txt", "three\n")]).await;
    assert_eq!(other.0, 200);
    assert_eq!(merge(&ada, 1).await, 200);
    let details = ask(&hub, None, Method::GET, "/api/models/ada/model/discussions/1?diff=1", None).await.1;
    assert_eq!((details["status"].as_str(), details["author"]["name"].as_str()), (Some("merged"), Some("eve")));
    assert!(details["diff"].as_str().unwrap().contains("+two"), "{details}");
    let kinds: Vec<_> = details["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["comment", "commit", "commit", "status-change"]);
    assert_eq!(commit(&hub, &eve, to_pull, None, &[put("late", "x")]).await.0, 403, "it is over");
    let details = ask(&hub, None, Method::GET, "/api/models/ada/model/discussions/2", None).await.1;
    assert_eq!(details["filesWithConflicts"], json!(["a.txt"]));
    assert_eq!(merge(&ada, 2).await, 403);
    let text = send(&hub, None, Method::GET, "/ada/model/resolve/main/a.txt", None).await.text().await.unwrap();
    assert_eq!(text, "two\n");
    // Others' words stay theirs.
    let first = details["events"][0]["id"].as_str().unwrap();
    let edit = format!("/api/models/ada/model/discussions/2/comment/{first}/edit");
    let content = json!({ "content": "I never said that" });
    assert_eq!(ask(&hub, Some(&eve), Method::POST, &edit, Some(content.clone())).await.0, 403);
    assert_eq!(ask(&hub, Some(&ada), Method::POST, &edit, Some(content)).await.0, 403);
    let hide = format!("/api/models/ada/model/discussions/2/comment/{first}/hide");
    let hidden = ask(&hub, Some(&ada), Method::POST, &hide, None).await;
    assert_eq!((hidden.0.as_u16(), hidden.1["updatedComment"]["data"]["latest"]["raw"].as_str()), (200, Some("")));
    hub.stop().await;
}

#[tokio::test]
async fn files_are_read_in_parts_and_run_nothing() {
    let hub = Hub::start(&[]).await;
    let ada = someone(&hub, "ada", Rights::Write, None).await;
    create(&hub, &ada, "model", false).await;
    let html = "<script>alert(1)</script>0123456789";
    assert_eq!(
        commit(&hub, &ada, "ada/model/commit/main", None, &[put("x.html", html), put("empty", "")]).await.0,
        200
    );
    let url = format!("{}/ada/model/resolve/main/x.html", hub.url);
    let part = async |range: &str| reqwest::Client::new().get(&url).header("range", range).send().await.unwrap();
    let whole = reqwest::get(&url).await.unwrap();
    assert_eq!(whole.headers()["content-security-policy"], "default-src 'none'; sandbox");
    assert_eq!(whole.headers()["content-type"], "application/octet-stream");
    assert!(whole.headers().contains_key("x-repo-commit") && whole.headers().contains_key("etag"));
    assert_eq!(whole.text().await.unwrap(), html);
    for (range, status, text) in [
        ("bytes=0-7", 206, "<script>"),
        ("bytes=-3", 206, "789"),
        ("bytes=25-", 206, "0123456789"),
        ("bytes=30-99", 206, "56789"),
        ("lines=1-2", 200, html),
    ] {
        let answer = part(range).await;
        assert_eq!(answer.status(), status, "{range}");
        assert_eq!(answer.text().await.unwrap(), text, "{range}");
    }
    assert_eq!(part("bytes=99-").await.status(), 416);
    let empty = reqwest::get(format!("{}/ada/model/resolve/main/empty", hub.url)).await.unwrap();
    assert_eq!((empty.status().as_u16(), empty.text().await.unwrap().len()), (200, 0));
    let missing = reqwest::get(format!("{}/ada/model/resolve/main/nothing", hub.url)).await.unwrap();
    assert_eq!(
        (missing.status().as_u16(), missing.headers()["x-error-code"].to_str().unwrap()),
        (404, "EntryNotFound")
    );
    assert!(missing.headers().contains_key("x-repo-commit"));
    hub.stop().await;
}
