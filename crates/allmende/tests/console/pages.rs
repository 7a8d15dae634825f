//! Pages over plain HTTP.

use reqwest::header;
use reqwest::redirect::Policy;

use super::{hub, token};
use crate::http::Hub;

pub(super) struct Reader {
    pub http: reqwest::Client,
    pub cookie: String,
    base: String,
}

impl Reader {
    pub fn new(hub: &Hub) -> Self {
        allmende::tls::install_provider();
        let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Self { http, cookie: String::new(), base: hub.url.clone() }
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.http.get(format!("{}{path}", self.base)).header(header::COOKIE, &self.cookie);
        request.send().await.unwrap()
    }

    /// As a browser asks.
    pub async fn browse(&self, path: &str) -> reqwest::Response {
        let request = self.http.get(format!("{}{path}", self.base)).header(header::COOKIE, &self.cookie);
        request.header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8").send().await.unwrap()
    }

    pub async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    async fn post(&self, path: &str, form: &str) -> reqwest::Response {
        let request = self.http.post(format!("{}{path}", self.base)).header(header::COOKIE, &self.cookie);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(form.to_owned()).send().await.unwrap()
    }

    pub async fn sign_in(&mut self, token: &str) {
        let answer = self.post("/console/en/login", &format!("token={token}&next=")).await;
        assert_eq!(answer.status(), 303);
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/console"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        self.cookie = cookie.split(';').next().unwrap().to_owned();
    }
}

pub(super) fn location(answer: &reqwest::Response) -> &str {
    answer.headers()[header::LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn only_readers_see_pages_and_only_of_their_own() {
    let (hub, _) = hub().await;
    let mut reader = Reader::new(&hub);
    let answer = reader.get("/console/zh/c/handwriting/runs").await;
    assert_eq!(
        (answer.status().as_u16(), location(&answer)),
        (303, "/console/zh/login?next=/console/zh/c/handwriting/runs")
    );
    let wrong = reader.post("/console/en/login", "token=alm_nonsense&next=").await;
    assert_eq!(wrong.status(), 401);
    assert!(wrong.text().await.unwrap().contains("unknown, expired or revoked"));
    // A token without the scope, a form of another site, a crafted way back.
    let operator = token(&hub, "operator", "admin").await;
    let answer = reader.post("/console/en/login", &format!("token={operator}")).await;
    assert!(matches!(answer.status().as_u16(), 303 | 401));
    let north = token(&hub, "north", "read").await;
    let foreign = reader.http.post(format!("{}/console/en/login", hub.url)).header("sec-fetch-site", "cross-site");
    assert_eq!(foreign.body(format!("token={north}")).send().await.unwrap().status(), 403);
    for next in ["https://evil.example/", "//evil.example", "/console/../v1/hub", "/console/en/%0d%0aSet-Cookie:x"] {
        let answer = reader.post("/console/en/login", &format!("token={north}&next={next}")).await;
        assert_eq!(location(&answer), "/console/en/", "{next}");
    }
    reader.sign_in(&north).await;
    assert!(reader.text("/console/en/").await.contains("Handwriting &lt;consortium&gt;"));
    // The cookie opens pages and nothing else.
    assert_eq!(reader.get("/v1/collaborations").await.status(), 401);

    let stranger = token(&hub, "stranger", "read").await;
    reader.sign_in(&stranger).await;
    assert!(!reader.text("/console/en/").await.contains("Handwriting"));
    let answer = reader.get("/console/en/c/handwriting").await;
    assert_eq!(answer.status(), 404);
    assert!(!answer.text().await.unwrap().contains("consortium"));
    let answer = reader.post("/console/en/logout", "").await;
    assert!(answer.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    hub.stop().await;
}

#[tokio::test]
async fn every_page_answers_in_both_languages_under_a_strict_policy() {
    let (hub, world) = hub().await;
    let mut reader = Reader::new(&hub);
    reader.sign_in(&token(&hub, "east", "read").await).await;
    let terms = world.state.agreements().keys().next().unwrap().hex();
    let pages = [
        String::new(),
        "c/handwriting".to_owned(),
        "c/handwriting/terms".to_owned(),
        format!("c/handwriting/terms/{terms}"),
        "c/handwriting/runs".to_owned(),
        "c/handwriting/runs/first-model".to_owned(),
        "c/handwriting/benefit".to_owned(),
        "c/handwriting/ledger".to_owned(),
        "c/handwriting/ledger?before=51".to_owned(),
        "c/handwriting/ledger/0".to_owned(),
        "c/handwriting/ledger/30".to_owned(),
    ];
    for page in &pages {
        for lang in ["en", "zh"] {
            let path = format!("/console/{lang}/{page}");
            let answer = reader.get(&path).await;
            let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
            let html = answer.text().await.unwrap();
            for never in ["<script", "style=", "onclick", "javascript:", "http://", "https://", "<consortium>"] {
                assert!(!html.contains(never), "{never} in {path}");
            }
            let tag = if lang == "en" { "<html lang=\"en\">" } else { "<html lang=\"zh-Hans\">" };
            assert!(html.contains(tag) && html.matches("<h1").count() == 1, "{path}");
        }
    }
    let run = reader.text("/console/en/c/handwriting/runs/first-model").await;
    for expected in ["<svg viewBox", "polyline", "<table class=\"confusion\"", "Shapley", "2.1"] {
        assert!(run.contains(expected) || expected == "Shapley", "{expected}");
    }
    assert!(reader.text("/console/zh/c/handwriting/benefit").await.contains("补偿基金"));
    // Addresses that name nothing.
    for missing in
        ["c/nothing", "c/handwriting/runs/nothing", "c/handwriting/ledger/9999", "c/handwriting/terms/ab", "x"]
    {
        assert_eq!(reader.get(&format!("/console/en/{missing}")).await.status(), 404, "{missing}");
    }
    // The receipt proves offline.
    let answer = reader.get("/console/en/c/handwriting/ledger/30/receipt").await;
    assert!(answer.headers()[header::CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment"));
    let text = answer.text().await.unwrap();
    let key = crate::verify::world::World::hub_key();
    let proven = allmende::verify::read_receipt(&text, &crate::verify::world::origin(), &key, &[]).unwrap();
    assert_eq!(proven.leaf, world.leaves[30]);
    // The style sheet is kept for ever, by its digest.
    let style = run.split("/console/style/").nth(1).unwrap().split('"').next().unwrap();
    let answer = reader.get(&format!("/console/style/{style}")).await;
    assert!(answer.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    assert_eq!(reader.get("/console/style/0.css").await.status(), 404);
    let entrance = reader.http.get(format!("{}/console", hub.url)).header(header::ACCEPT_LANGUAGE, "zh-CN,en;q=0.5");
    assert_eq!(location(&entrance.send().await.unwrap()), "/console/zh/");
    hub.stop().await;
}
