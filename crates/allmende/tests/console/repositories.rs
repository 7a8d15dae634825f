//! Pages of repositories over plain HTTP: who sees what, and what strangers' texts can do.

use allmende_formats::safetensors::write_f32;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::pages::{Reader, location};
use crate::xet::{Person, World};

const CARD: &str = "---\nlicense: mit\ntags: [digits, demo]\nlanguage: en\n---\n# Digits\n\nReads **digits**. See \
    [the notes](notes/a%20b.txt) and [elsewhere](https://e.example/).\n\n| Set | Accuracy |\n|-----|---------:|\n| test \
    | 0.97 |\n\n```python\nmodel = load(\"digits\")\n```\n\n- one\n- two\n\n> said\n\n<script>alert(1)</script>\n\n<img \
    src=x onerror=alert(1)>\n\n![a picture](https://e.example/p.png) [bad](javascript:alert(1)) [out](../../x) \
    [root](/console/en/login)\n";

async fn call(url: &str, token: &str, method: Method, path: &str, body: Value) -> Value {
    let request = reqwest::Client::new().request(method, format!("{url}{path}")).bearer_auth(token).json(&body);
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

async fn commit(url: &str, token: &str, repo: &str, query: &str, files: &[(&str, &[u8])]) -> Value {
    let mut lines = vec![json!({ "key": "header", "value": { "summary": "a <b>change</b>", "description": "why" } })];
    lines.extend(files.iter().map(|(path, bytes)| {
        json!({ "key": "file", "value": { "path": path, "content": STANDARD.encode(bytes), "encoding": "base64" } })
    }));
    let body: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let request = reqwest::Client::new().post(format!("{url}/api/{repo}/commit/main{query}")).bearer_auth(token);
    let answer = request.body(body.join("\n")).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{repo}: {text}");
    serde_json::from_str(&text).unwrap()
}

fn weights(values: [f32; 4]) -> Vec<u8> {
    write_f32(&[("layer.weight".to_owned(), vec![2, 2])], &values).unwrap()
}

/// A model and a dataset of `owner` with something on each page.
pub async fn fill(url: &str, token: &str, owner: &str) {
    for (name, kind) in [("digits", "model"), ("rows", "dataset")] {
        let body = json!({ "name": name, "organization": owner, "type": kind, "visibility": "private" });
        call(url, token, Method::POST, "/api/repos/create", body).await;
    }
    let model = format!("models/{owner}/digits");
    let first = weights([1.0, 2.0, 3.0, 4.0]);
    commit(url, token, &model, "", &[("README.md", CARD.as_bytes()), ("model.safetensors", &first)]).await;
    call(url, token, Method::POST, &format!("/api/{model}/tag/main"), json!({ "tag": "first" })).await;
    let second = weights([1.0, 2.0, 3.0, 5.0]);
    let notes: &[u8] = b"<script>alert(2)</script>\nline\n";
    commit(url, token, &model, "", &[("model.safetensors", &second), ("notes/a b.txt", notes), ("x.bin", b"\0\x01")])
        .await;
    let text = "Is it <script>alert(3)</script>? [x](javascript:alert(4)) `code`\n\n# Big\n\n- a\n- b\n";
    let body = json!({ "title": "How <i>good</i> is it?", "description": text });
    call(url, token, Method::POST, &format!("/api/{model}/discussions"), body).await;
    commit(url, token, &model, "?create_pr=1", &[("notes/c.txt", b"new line\n")]).await;
    let csv: String = std::iter::once("n,word\n".to_owned()).chain((0..120).map(|i| format!("{i},w<{i}>\n"))).collect();
    commit(url, token, &format!("datasets/{owner}/rows"), "", &[("t.csv", csv.as_bytes())]).await;
    let bucket = format!("/api/buckets/{owner}/scratch");
    call(url, token, Method::POST, &bucket, json!({ "private": true })).await;
    put_empty(url, token, &bucket, &["logs/day <1>/a b.txt", "logs/z.txt", "x<b>.bin"]).await;
}

/// Puts files without bytes into a bucket.
async fn put_empty(url: &str, token: &str, bucket: &str, paths: &[&str]) {
    let hash = "0".repeat(64);
    let line = |path: &&str| json!({ "type": "addFile", "path": path, "xetHash": hash, "mtime": 1 }).to_string();
    let body: Vec<String> = paths.iter().map(line).collect();
    let request = reqwest::Client::new().post(format!("{url}{bucket}/batch")).bearer_auth(token);
    let answer = request.body(body.join("\n")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_listed_by_folders_and_pages() {
    let world = World::start(&[]).await;
    let (ada, owner) = person(&world, "ada").await;
    let (_, stranger) = person(&world, "eve").await;
    let anybody = Reader::new(&world.hub);
    fill(&world.hub.url, &ada.token, "ada").await;
    let front = "/console/en/r/buckets/ada/scratch";
    assert_eq!(status(&stranger, front).await, 404);
    assert!(location(&anybody.get(front).await).starts_with("/console/en/login"));
    for page in ["/tree/main", "/discussions", "/history/main"] {
        assert_eq!(status(&owner, &format!("{front}{page}")).await, 404, "{page}");
    }
    assert!(owner.text("/console/en/r?kind=buckets").await.contains("ada/scratch"));
    assert!(!stranger.text("/console/en/r?kind=buckets").await.contains("ada/scratch"));
    let shown = owner.text(front).await;
    assert!(shown.contains("x&lt;b&gt;.bin") && shown.contains("logs/") && !shown.contains("z.txt"), "{shown}");
    assert!(shown.contains("hf buckets sync hf://buckets/ada/scratch ./scratch") && !shown.contains("<b>.bin"));
    let shown = owner.text(&format!("{front}?folder=logs/")).await;
    assert!(shown.contains("z.txt") && shown.contains("day &lt;1&gt;/") && !shown.contains(".bin"), "{shown}");
    let inner = owner.text(&format!("{front}?folder=logs/day%20%3C1%3E")).await;
    assert!(inner.contains("a b.txt") && inner.contains("?folder=logs\""), "{inner}");
    assert!(owner.text(&format!("{front}?folder=nothing")).await.contains("Nothing stands here."));
    assert_eq!(status(&owner, &format!("{front}?folder={}", "a".repeat(9_000))).await, 404);

    // Page after page, each file once.
    let names: Vec<String> = (0..450).map(|i| format!("many/{i:03}.txt")).collect();
    let paths: Vec<&str> = names.iter().map(String::as_str).collect();
    for some in paths.chunks(200) {
        put_empty(&world.hub.url, &ada.token, "/api/buckets/ada/scratch", some).await;
    }
    let (mut next, mut seen) = (format!("{front}?folder=many"), 0);
    loop {
        let shown = owner.text(&next).await;
        seen += shown.matches(".txt</th>").count();
        let Some((_, rest)) = shown.split_once("class=\"pager\"><a href=\"") else { break };
        next = rest.split('"').next().unwrap().replace("&amp;", "&");
    }
    assert_eq!(seen, 450);
    // Public, it is for anybody.
    call(&world.hub.url, &ada.token, Method::PUT, "/api/buckets/ada/scratch/settings", json!({ "private": false }))
        .await;
    assert!(anybody.text(front).await.contains("logs/"));
    assert!(anybody.text("/console/zh/r?kind=buckets").await.contains("ada/scratch"));
    world.hub.stop().await;
}

async fn person(world: &World, name: &str) -> (Person, Reader) {
    let person = world.person(name).await;
    let mut reader = Reader::new(&world.hub);
    reader.sign_in(&person.token).await;
    (person, reader)
}

async fn status(reader: &Reader, path: &str) -> StatusCode {
    reader.get(path).await.status()
}

async fn set(world: &World, person: &Person, repo: &str, settings: Value) {
    call(&world.hub.url, &person.token, Method::PUT, &format!("/api/{repo}/settings"), settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_seen_and_read_by_whoever_may() {
    let world = World::start(&[]).await;
    let (ada, owner) = person(&world, "ada").await;
    let (_, stranger) = person(&world, "eve").await;
    let anybody = Reader::new(&world.hub);
    fill(&world.hub.url, &ada.token, "ada").await;
    let front = "/console/en/r/models/ada/digits";
    let pages = [
        "",
        "/tree/main",
        "/file/main/README.md",
        "/history/main",
        "/commit/main",
        "/discussions",
        "/compare?base=first",
    ];

    // What is private is, to others, as what is not there.
    for page in pages {
        assert_eq!(status(&owner, &format!("{front}{page}")).await, 200, "{page}");
        assert_eq!(status(&stranger, &format!("{front}{page}")).await, 404, "{page}");
        let answer = anybody.get(&format!("{front}{page}")).await;
        assert!(location(&answer).starts_with("/console/en/login"), "{page}");
    }
    assert_eq!(status(&stranger, "/console/en/r/models/ada/nothing").await, 404);
    assert_eq!(
        location(&anybody.get("/console/en/r/models/ada/nothing").await).split('?').next(),
        Some("/console/en/login")
    );
    assert!(owner.text("/console/en/r").await.contains("ada/digits"));
    assert!(!stranger.text("/console/en/r").await.contains("ada/digits"));
    assert!(!anybody.text("/console/en/r").await.contains("ada/digits"));

    // Public: anybody sees and reads it.
    set(&world, &ada, "models/ada/digits", json!({ "visibility": "public" })).await;
    for page in pages {
        assert_eq!(status(&anybody, &format!("{front}{page}")).await, 200, "{page}");
    }
    assert!(anybody.text("/console/zh/r?search=DIG&owner=Ada&tag=demo").await.contains("ada/digits"));
    for query in ["search=other", "owner=eve", "tag=other", "kind=datasets"] {
        assert!(!anybody.text(&format!("/console/en/r?{query}")).await.contains("ada/digits"), "{query}");
    }

    // Gated: anybody sees the facts, and nothing of what stands in files before they are let in.
    set(&world, &ada, "models/ada/digits", json!({ "gated": "manual" })).await;
    for reader in [&anybody, &stranger] {
        let shown = reader.text(front).await;
        assert!(shown.contains("You may not read what stands in the files") && !shown.contains("Reads <strong>"));
        assert!(shown.contains("license:mit") && !shown.contains("0.97"));
        for page in ["/commit/main", "/discussions/2"] {
            let shown = reader.text(&format!("{front}{page}")).await;
            assert!(shown.contains("You may not read") && !shown.contains("alert(2)") && !shown.contains("new line"));
        }
    }
    assert!(stranger.text(front).await.contains("Ask for access"));
    for page in ["/file/main/README.md", "/file/main/model.safetensors", "/compare?base=first"] {
        assert_eq!(status(&stranger, &format!("{front}{page}")).await, 403, "{page}");
        assert_eq!(status(&anybody, &format!("{front}{page}")).await, 303, "{page}");
        assert_eq!(status(&owner, &format!("{front}{page}")).await, 200, "{page}");
    }
    let grant = json!({ "user": "eve" });
    let path = "/api/models/ada/digits/user-access-request/grant";
    call(&world.hub.url, &ada.token, Method::POST, path, grant).await;
    assert!(stranger.text(front).await.contains("Reads <strong>digits</strong>"));

    // An account's token opens repositories and no collaborations; a wrong one is nobody's.
    assert_eq!(status(&owner, "/console/en/").await, 403);
    let mut wrong = Reader::new(&world.hub);
    wrong.cookie = "allmende_console=hf_nothing_of_this_kind_is_known".to_owned();
    assert_eq!(
        (status(&wrong, "/console/en/r").await, status(&wrong, "/console/en/").await.as_u16()),
        (StatusCode::OK, 303)
    );
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_is_shown_and_does_nothing() {
    let world = World::start(&[]).await;
    let (ada, reader) = person(&world, "ada").await;
    let url = &world.hub.url;
    fill(url, &ada.token, "ada").await;
    let front = "/console/en/r/models/ada/digits";
    let pages = [
        "",
        "/tree/main",
        "/tree/first",
        "/tree/main/notes",
        "/file/main/README.md",
        "/file/main/notes/a%20b.txt",
        "/file/main/x.bin",
        "/file/main/model.safetensors",
        "/history/main",
        "/commit/main",
        "/compare?base=first&head=main",
        "/discussions",
        "/discussions/1",
        "/discussions/2",
    ];
    for lang in ["en", "zh"] {
        for page in pages {
            let path = format!("{}{page}", front.replace("/en/", &format!("/{lang}/")));
            let html = reader.text(&path).await;
            for never in ["<script", "<img src=\"h", "<img src=x", "style=", "<i>good", "=\"javascript", "<b>change"] {
                assert!(!html.contains(never), "{never} in {path}");
            }
            let images = html.matches("<img").count();
            assert_eq!((images, html.matches("<h1").count()), (1, 1), "only the sign of the house: {path}");
        }
    }
    let card = reader.text(front).await;
    for expected in [
        "Reads <strong>digits</strong>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "href=\"/console/en/r/models/ada/digits/file/main/notes/a%20b.txt\"",
        "<td>0.97</td>",
        "git clone ",
        "hf download ada/digits",
    ] {
        assert!(card.contains(expected), "{expected}: {card}");
    }
    let expect = async |page: &str, expected: &[&str]| {
        let html = reader.text(&format!("{front}{page}")).await;
        for text in expected {
            assert!(html.contains(text), "{text} in {page}: {html}");
        }
    };
    expect("/file/main/model.safetensors", &["layer.weight", "F32 [2 × 2]"]).await;
    expect("/compare?base=first&head=main", &["layer.weight", "changed"]).await;
    expect("/commit/main", &["&lt;b&gt;change&lt;/b&gt;", "+&lt;script&gt;alert(2)"]).await;
    expect("/commit/first", &["README.md"]).await;
    expect("/file/main/x.bin", &["This is no text"]).await;
    expect("/discussions/2", &["new line", "pull request"]).await;
    expect("/tree/main", &["notes/", "first"]).await;
    let rows = reader.text("/console/en/r/datasets/ada/rows/rows?from=50").await;
    assert!(rows.contains("w&lt;50&gt;") && rows.contains("w&lt;99&gt;") && !rows.contains("w&lt;100&gt;"), "{rows}");

    // Addresses that lead out of the repository, or nowhere.
    for page in [
        "/file/main/..%2f..%2fHEAD",
        "/file/main/%2e%2e/config",
        "/file/main/.git/config",
        "/file/main/notes",
        "/file/nowhere/README.md",
        "/file/--output=x/README.md",
        "/tree/main/..%2f..",
        "/tree/main/nothing",
        "/history/nowhere",
        "/commit/0000000000000000000000000000000000000000",
        "/compare?base=--all",
        "/discussions/99",
        "/rows",
    ] {
        assert_eq!(status(&reader, &format!("{front}{page}")).await, 404, "{page}");
    }
    assert_eq!(status(&reader, &format!("{front}/discussions/x")).await, 400);
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_without_end_or_sense_stay_bounded() {
    let world = World::start(&[]).await;
    let (ada, reader) = person(&world, "ada").await;
    let url = &world.hub.url;
    let body = json!({ "name": "huge", "type": "model" });
    call(url, &ada.token, Method::POST, "/api/repos/create", body).await;
    let repo = "models/ada/huge";
    let cases = [
        "[".repeat(3 << 20),
        ">".repeat(3 << 20),
        "*a **b ".repeat(400_000),
        "| a ".repeat(700_000),
        format!("{}x", "- ".repeat(1 << 20)),
        "<div>".repeat(500_000),
        "\u{202e}\u{0}\u{7}\u{feff}".repeat(1_000),
    ];
    for text in cases {
        commit(url, &ada.token, repo, "", &[("README.md", text.as_bytes())]).await;
        let start = std::time::Instant::now();
        for page in ["", "/file/main/README.md", "/commit/main"] {
            let html = reader.text(&format!("/console/en/r/{repo}{page}")).await;
            assert!(html.len() < 4 << 20, "{page}: {} bytes of {}", html.len(), &text[..8]);
        }
        assert!(start.elapsed().as_secs() < 20, "{}", &text[..8]);
    }
    // No tensors behind the name; and no UTF-8.
    let files: &[(&str, &[u8])] =
        &[("model.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"), ("README.md", b"\xff\xfe#")];
    commit(url, &ada.token, repo, "", files).await;
    for page in ["", "/file/main/model.safetensors", "/file/main/README.md"] {
        assert_eq!(status(&reader, &format!("/console/en/r/{repo}{page}")).await, 200, "{page}");
    }
    world.hub.stop().await;
}

/// Clients print addresses as the public hub has them.
#[tokio::test]
async fn an_address_that_a_client_prints_leads_to_a_page() {
    let world = World::start(&[]).await;
    let (ada, reader) = person(&world, "ada").await;
    fill(&world.hub.url, &ada.token, "ada").await;
    for address in
        ["/", "/ada", "/ada/digits", "/datasets/ada/rows", "/ada/digits/discussions/1", "/ada/digits/tree/main"]
    {
        let answer = reader.browse(address).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{address}");
        let page = location(&answer).to_owned();
        assert_eq!(reader.get(&page).await.status(), StatusCode::OK, "{address} leads to {page}");
    }
    // To a program that is no browser nothing is there, and to a browser it is the same whether there is something.
    assert_eq!(reader.get("/ada/digits").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(reader.browse("/ada/nothing").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(reader.browse("/api/nothing").await.status(), StatusCode::NOT_FOUND);
}
