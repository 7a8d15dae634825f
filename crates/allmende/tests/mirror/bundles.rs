//! Bundles that somebody carries: what comes out is what went in, again and further.

use allmende::git::refs::Change;
use allmende::mirror::inspect::inspect;
use allmende::repo::moving::move_refs;
use reqwest::Method;
use serde_json::json;

use super::{Pair, bring, call, commit, export, file, find, tagged, tips};
use crate::xet::noise;

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_brings_a_repository_with_the_same_commits() {
    let pair = Pair::start().await;
    let weights = noise(3_000_000, 1);
    let first = pair.commit(&[("model.safetensors", &weights), ("README.md", b"---\nlicense: mit\n---\nwords")]).await;
    let git = pair.a.hub.app.git.repo(&pair.repo.id);
    tagged(&git, "v1", first.parse().unwrap(), Some("the first")).await;
    let second = pair.commit(&[("config.json", b"{}")]).await;
    let bundle = pair.bundle(json!({})).await;
    let report = inspect(bundle.as_slice()).await.unwrap();
    assert_eq!((report.signer.as_str(), report.large_files, report.leaning_files), (&*pair.signer().to_string(), 1, 0));
    assert_eq!((report.refs.len(), report.whole), (2, true));
    assert!((2_990_000..3_010_000).contains(&report.chunk_bytes), "{report:?}");

    let (status, said) = pair.bring(bundle.clone()).await;
    assert_eq!((status, &said["created"], &said["refs_moved"]), (200, &json!(true), &json!(2)), "{said}");
    assert!(pair.same().await);
    let copy = pair.copy().await.unwrap();
    assert!(copy.private && copy.settings.mirror);
    assert_eq!(file(&pair.b, &pair.bea, "bea/copy", "main", "model.safetensors").await, (200, weights.clone()));
    assert_eq!(file(&pair.b, &pair.bea, "bea/copy", &first, "model.safetensors").await.0, 200);
    assert_eq!(file(&pair.b, &pair.bea, "bea/copy", &second, "config.json").await, (200, b"{}".to_vec()));
    let info = call(&pair.b, Some(&pair.bea), Method::GET, "/api/models/bea/copy", None).await;
    assert_eq!(info.json::<serde_json::Value>().await.unwrap()["cardData"]["license"], "mit");
    let page = format!("{}/console/en/r/models/bea/copy", pair.b.hub.url);
    let cookie = format!("allmende_console={}", pair.bea.token);
    let page = reqwest::Client::new().get(page).header("cookie", cookie).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Mirror of") && page.contains("ada/model") && page.contains("as of"), "{page}");
    // Nobody else sees it, and nobody writes to it, not even its owner.
    let eve = pair.b.person("eve").await;
    assert_eq!(file(&pair.b, &eve, "bea/copy", "main", "config.json").await.0, 404);
    let lines = "{\"key\":\"header\",\"value\":{\"summary\":\"x\"}}\n{\"key\":\"file\",\"value\":{\"path\":\"a\",\"content\":\"x\"}}";
    let url = format!("{}/api/models/bea/copy/commit/main", pair.b.hub.url);
    for pull in ["", "?create_pr=1"] {
        let request = reqwest::Client::new().post(format!("{url}{pull}")).bearer_auth(&pair.bea.token).body(lines);
        let refused = request.send().await.unwrap();
        let message = refused.headers()["x-error-message"].to_str().unwrap().to_owned();
        assert_eq!(refused.status(), 403, "{message}");
        assert!(message.contains("is a mirror"), "{message}");
    }
    for (method, path, body) in [
        (Method::GET, "/api/models/bea/copy/xet-write-token/main", json!(null)),
        (Method::GET, "/api/models/bea/copy/xet-write-token/main?create_pr=1", json!(null)),
        (Method::POST, "/api/models/bea/copy/branch/side", json!({})),
        (Method::DELETE, "/api/models/bea/copy/branch/main", json!(null)),
        (Method::POST, "/api/models/bea/copy/tag/main", json!({ "tag": "own" })),
        (Method::POST, "/api/models/bea/copy/super-squash/main", json!({})),
        (
            Method::POST,
            "/api/models/bea/copy/discussions",
            json!({ "title": "a pull", "description": "x", "pullRequest": true }),
        ),
        (Method::GET, "/bea/copy.git/info/refs?service=git-receive-pack", json!(null)),
    ] {
        let body = Some(body).filter(|body| !body.is_null());
        let answer = call(&pair.b, Some(&pair.bea), method, path, body).await;
        assert_eq!(answer.status(), 403, "{path}: {:?}", answer.text().await);
    }
    // Brought again it changes nothing.
    let before = (tips(&pair.b, &copy).await, pair.b.stored_bytes());
    let (status, said) = pair.bring(bundle).await;
    assert_eq!((status, &said["created"], &said["refs_moved"]), (200, &json!(false), &json!(0)), "{said}");
    assert_eq!((tips(&pair.b, &copy).await, pair.b.stored_bytes()), before);
    // Once it stands on its own, it may be written to, and no bundle changes it any more.
    let mirror = "/v1/repositories/models/bea/copy/mirror";
    assert_eq!(call(&pair.b, Some(&eve), Method::DELETE, mirror, None).await.status(), 404);
    assert_eq!(call(&pair.b, Some(&pair.bea), Method::DELETE, mirror, None).await.status(), 204);
    commit(&pair.b, &pair.bea, &copy, &[("own.txt", b"own")]).await;
    let (status, said) = pair.bring(pair.bundle(json!({})).await).await;
    assert_eq!((status, said["code"].as_str()), (409, Some("duplicate")), "{said}");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_goes_upon_what_it_is_based_on() {
    let pair = Pair::start().await;
    let mut weights = noise(5_000_000, 2);
    let first = pair.commit(&[("w.bin", &weights)]).await;
    let whole = pair.bundle(json!({})).await;
    weights.splice(2_000_000..2_000_000, noise(1_000, 3));
    let second = pair.commit(&[("w.bin", &weights)]).await;
    let more = pair.bundle(json!({ "since": [first] })).await;
    eprintln!("1 kB inserted into 5 MB: a bundle of {} bytes since the first of {}", more.len(), whole.len());
    assert!(more.len() < 400_000, "{}", more.len());
    let report = inspect(more.as_slice()).await.unwrap();
    assert_eq!((&report.since, report.leaning_files), (&vec![first.clone()], 1));
    // Alone it stands on nothing.
    let (status, said) = pair.bring(more.clone()).await;
    assert_eq!(status, 422, "{said}");
    assert!(said["detail"].as_str().unwrap().contains("builds upon"), "{said}");
    assert!(pair.copy().await.is_none());
    assert_eq!(pair.bring(whole.clone()).await.0, 200);
    assert_eq!(pair.bring(more.clone()).await.0, 200);
    assert!(pair.same().await);
    assert_eq!(file(&pair.b, &pair.bea, "bea/copy", &second, "w.bin").await, (200, weights.clone()));
    // What is older than what stands here does not bring it back.
    let (status, said) = pair.bring(whole).await;
    assert_eq!(status, 422, "{said}");
    assert!(said["detail"].as_str().unwrap().contains("before what stands here"), "{said}");
    assert!(pair.same().await);
    // One branch of two, and what was no commit of this repository.
    let git = pair.a.hub.app.git.repo(&pair.repo.id);
    let zero = allmende::git::Oid::ZERO;
    let side = |new| Change { name: "refs/heads/side".to_owned(), old: zero, new };
    git.change_refs(&[side(first.parse().unwrap())]).await.unwrap();
    let part = inspect(pair.bundle(json!({ "revision": "side" })).await.as_slice()).await.unwrap();
    assert_eq!((part.whole, &part.refs[..]), (false, &[("refs/heads/side".to_owned(), first.clone())][..]));
    for wanted in [json!({ "revision": "none" }), json!({ "since": ["0123456"] }), json!({ "since": ["1".repeat(40)] })]
    {
        let refused = export(&pair.a, Some(&pair.ada), "ada/model", wanted.clone()).await;
        assert_eq!(refused.status(), 404, "{wanted}");
    }
    assert_eq!(export(&pair.a, Some(&pair.ada), "ada/model", json!({ "other": 1 })).await.status(), 400);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_source_rewrote_is_followed_and_remembered() {
    let pair = Pair::start().await;
    let first = pair.commit(&[("a.txt", b"a")]).await;
    let second = pair.commit(&[("a.txt", b"b")]).await;
    let git = pair.a.hub.app.git.repo(&pair.repo.id);
    tagged(&git, "gone", first.parse().unwrap(), None).await;
    assert_eq!(pair.bring(pair.bundle(json!({})).await).await.0, 200);
    let back = Change { name: "refs/heads/main".to_owned(), old: second.parse().unwrap(), new: first.parse().unwrap() };
    move_refs(&pair.a.hub.app, &pair.repo.id, vec![back]).await.unwrap();
    git.delete_ref("refs/tags/gone").await.unwrap();
    let (status, said) = pair.bring(pair.bundle(json!({})).await).await;
    assert_eq!((status, &said["refs_rewritten"]), (200, &json!(2)), "{said}");
    assert!(pair.same().await);
    let mirror = call(&pair.b, Some(&pair.bea), Method::GET, "/v1/repositories/models/bea/copy/mirror", None).await;
    let mirror: serde_json::Value = mirror.json().await.unwrap();
    assert_eq!(mirror["rewritten"].as_array().unwrap().len(), 2, "{mirror}");
    assert_eq!(mirror["rewritten"][0]["old"].as_str(), Some(&*second));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_be_read_leaves_and_nothing_beside_it() {
    let pair = Pair::start().await;
    let (own, others) = (noise(1_000_000, 5), noise(2_000_000, 6));
    // One xorb has the chunks of both: of a public repository, and of a private one of the same account.
    let open = pair.a.repo(&pair.ada, &pair.ada.account, "open").await;
    let both = [&others[..], &own[..]].concat();
    commit(&pair.a, &pair.ada, &pair.repo, &[("both.bin", &both)]).await;
    let app = &pair.a.hub.app;
    let sha256 = allmende_core::digest::Digest::of(&both);
    allmende::xet::copy::file(app, &pair.repo, &open, &sha256).await.unwrap();
    let held = allmende::xet::parts::held(app, &open, &sha256).await.unwrap().unwrap();
    // A file that is the end of the other: its chunks lie behind those of the other.
    let cut = allmende::xet::parts::divide(app, &open, vec![tail(&held)], &[]).await.unwrap();
    assert!(cut.xorbs.len() == 1 && cut.xorbs[0].bytes < 1_200_000, "{:?}", cut.xorbs);
    assert_ne!(cut.xorbs[0].hash, held.segments[0].xorb);
    let mut bytes = Vec::new();
    allmende::xet::parts::write(app, &open, &cut.xorbs[0], &mut bytes).await.unwrap();
    assert_eq!(bytes.len() as u64, cut.xorbs[0].bytes);
    let probe = &others[500_000..500_064];
    assert!(!bytes.windows(probe.len()).any(|window| window == probe), "a chunk of another file left");

    let eve = pair.a.person("eve").await;
    assert_eq!(export(&pair.a, Some(&eve), "ada/model", json!({})).await.status(), 404);
    assert_eq!(export(&pair.a, None, "ada/model", json!({})).await.status(), 401);
    assert_eq!(export(&pair.a, None, "ada/nothing", json!({})).await.status(), 401);
    // Everybody sees a gated repository, and its files are for those whom its owner lets in.
    let settings = json!({ "gated": "manual", "visibility": "public" });
    let set = call(&pair.a, Some(&pair.ada), Method::PUT, "/api/models/ada/model/settings", Some(settings)).await;
    assert_eq!(set.status(), 200);
    assert_eq!(export(&pair.a, Some(&eve), "ada/model", json!({})).await.status(), 403);
    assert_eq!(export(&pair.a, None, "ada/model", json!({})).await.status(), 401);
    pair.stop().await;
}

/// The last half of a file, as if it were one.
fn tail(held: &allmende::xet::Held) -> allmende::xet::Held {
    let mut segment = held.segments[0];
    segment.chunk_start += (segment.chunk_end - segment.chunk_start) * 2 / 3;
    allmende::xet::Held { segments: vec![segment], ..held.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_bring_it_and_where_to() {
    let pair = Pair::start_with(&[("default_quota_bytes", "2000000")]).await;
    pair.commit(&[("a.txt", b"a")]).await;
    let bundle = pair.bundle(json!({})).await;
    let other = pair.b.hub.app.hub_key.public();
    let (status, said) = bring(&pair.b, &pair.bea, "bea/copy", bundle.clone(), &other).await;
    assert_eq!(status, 403, "{said}");
    assert!(said["detail"].as_str().unwrap().contains("is signed with"), "{said}");
    let eve = pair.b.person("eve").await;
    assert_eq!(bring(&pair.b, &eve, "bea/copy", bundle.clone(), &pair.signer()).await.0, 403);
    let standing = pair.b.repo(&pair.bea, &pair.bea.account, "own").await;
    let before = tips(&pair.b, &standing).await;
    assert_eq!(bring(&pair.b, &pair.bea, "bea/own", bundle.clone(), &pair.signer()).await.0, 409);
    assert_eq!(tips(&pair.b, &standing).await, before);
    for name in ["bea/..", "bea/.git", "bea/a%2Fb"] {
        assert_ne!(bring(&pair.b, &pair.bea, name, bundle.clone(), &pair.signer()).await.0, 200, "{name}");
    }
    // Of another repository of the same hub.
    assert_eq!(pair.bring(bundle).await.0, 200);
    let second = pair.a.repo(&pair.ada, &pair.ada.account, "second").await;
    let answer = export(&pair.a, Some(&pair.ada), &second.full_name(), json!({})).await;
    let (status, said) = pair.bring(answer.bytes().await.unwrap().to_vec()).await;
    assert_eq!(status, 422, "{said}");
    assert!(said["detail"].as_str().unwrap().contains("another repository"), "{said}");
    // More than the account may keep: nothing changes.
    let before = tips(&pair.b, &pair.copy().await.unwrap()).await;
    pair.commit(&[("large.bin", &noise(3_000_000, 9))]).await;
    let (status, said) = pair.bring(pair.bundle(json!({})).await).await;
    assert_eq!((status, said["code"].as_str()), (413, Some("quota_exceeded")), "{said}");
    assert_eq!(tips(&pair.b, &pair.copy().await.unwrap()).await, before);
    // A file that runs code when it is loaded is not let in without a word.
    let spoiled = pair.a.repo(&pair.ada, &pair.ada.account, "spoiled").await;
    let allow = json!({ "picklesAllowed": true });
    let set = call(&pair.a, Some(&pair.ada), Method::PUT, "/api/models/ada/spoiled/settings", Some(allow)).await;
    assert_eq!(set.status(), 200);
    let pickle = b"\x80\x02cos\nsystem\nq\x00X\x01\x00\x00\x00aq\x01\x85q\x02Rq\x03.";
    commit(&pair.a, &pair.ada, &spoiled, &[("model.pkl", pickle)]).await;
    let answer = export(&pair.a, Some(&pair.ada), "ada/spoiled", json!({})).await;
    let bytes = answer.bytes().await.unwrap().to_vec();
    let (status, said) = bring(&pair.b, &pair.bea, "bea/spoiled", bytes.clone(), &pair.signer()).await;
    assert!(status == 400 && said["detail"].as_str().unwrap().contains("model.pkl"), "{status} {said}");
    assert!(find(&pair.b, "bea", "spoiled").await.is_none());
    let url = format!("{}/v1/repositories/models/bea/spoiled/bundle", pair.b.hub.url);
    let request = reqwest::Client::new().put(format!("{url}?signer={}&pickles=true", pair.signer()));
    assert_eq!(request.bearer_auth(&pair.bea.token).body(bytes).send().await.unwrap().status(), 200);
    pair.stop().await;
}
