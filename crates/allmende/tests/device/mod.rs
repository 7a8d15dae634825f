//! Sign-in of devices with codes: by `hf auth login` as people run it, and by whoever tries to get more than they were given.

mod rules;

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use allmende::account::{Grant, Rights};
use allmende::auth::{NewToken, Scopes, issue};
use allmende::clock::Clock;
use allmende::transaction;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value;

use crate::http::Hub;
use crate::wire_git::Someone;

const GRANT: &str = "grant_type=urn:ietf:params:oauth:grant-type:device_code";

struct Stage {
    hub: Hub,
    ada: Someone,
    http: Client,
}

impl Stage {
    async fn set(clock: Clock, rights: Rights) -> Self {
        let hub = Hub::start_at(tempfile::tempdir().unwrap(), &[], clock).await;
        let ada = Someone::new(&hub.app, "ada", rights).await;
        Self { hub, ada, http: Client::builder().redirect(Policy::none()).build().unwrap() }
    }

    async fn form(&self, path: &str, cookie: &str, form: &str) -> Response {
        let request = self.http.post(format!("{}{path}", self.hub.url)).header("cookie", cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        request.send().await.unwrap()
    }

    async fn page(&self, path: &str, cookie: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.hub.url)).header("cookie", cookie).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The codes of a device that begins: its own, and the one to type.
    async fn begin(&self) -> (String, String) {
        let answer = self.form("/oauth/device", "", "client_id=test").await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((&answer["interval"], &answer["expires_in"]), (&5.into(), &900.into()));
        (answer["device_code"].as_str().unwrap().to_owned(), answer["user_code"].as_str().unwrap().to_owned())
    }

    /// What the device is told: an error's word, or the token.
    async fn ask(&self, device: &str) -> Result<String, String> {
        let answer = self.form("/oauth/token", "", &format!("{GRANT}&client_id=test&device_code={device}")).await;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        match body["access_token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => {
                assert_eq!((status.as_u16(), body["error_description"].is_string()), (400, true), "{body}");
                Err(body["error"].as_str().unwrap().to_owned())
            }
        }
    }

    /// Decides as a person does who sees the page.
    async fn decide(&self, who: &Someone, code: &str, rest: &str) -> Response {
        let (status, page) = self.page(&format!("/console/en/device?code={code}"), &cookie(&who.secret)).await;
        assert_eq!(status, 200, "{page}");
        let seal = page.split("name=\"seal\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        self.form("/console/en/device", &cookie(&who.secret), &format!("code={code}&seal={seal}&{rest}")).await
    }

    /// Who a token is, and what it may.
    async fn whoami(&self, token: &str) -> Value {
        let answer = self.http.get(format!("{}/api/whoami-v2", self.hub.url)).bearer_auth(token).send().await.unwrap();
        answer.json().await.unwrap()
    }
}

fn cookie(token: &str) -> String {
    format!("allmende_console={token}")
}

/// The code that a client shows.
fn code_in(said: &str) -> Option<String> {
    let rest = said.split("enter the code").nth(1)?.trim_start_matches([':', ' ']);
    rest.get(..9).filter(|code| code.as_bytes()[4] == b'-').map(str::to_owned)
}

/// A login under way.
struct Login {
    child: Child,
    home: tempfile::TempDir,
    said: String,
    code: String,
}

impl Login {
    /// Runs `hf auth login` until it shows its code; at a terminal, or as in a script.
    async fn start(stage: &Stage, terminal: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let typist = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/device/typist.py");
        let mut command = Command::new(if terminal { "python3" } else { "hf" });
        if terminal {
            command.args([typist, "hf"]);
        }
        // Whatever else stands in the environment would steer it.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["auth", "login"]).env("HF_ENDPOINT", &stage.hub.url).env("HF_HOME", home.path());
        command.env("HF_HUB_DISABLE_UPDATE_CHECK", "1").env("NO_COLOR", "1").env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|e| panic!("hf: {e}; put .venv/bin first in PATH, as ./check does"));
        let mut out = child.stdout.take().unwrap();
        let (out, said, code) = tokio::task::spawn_blocking(move || {
            let (mut said, mut byte) = (String::new(), [0; 1]);
            while code_in(&said).is_none() && out.read(&mut byte).unwrap() > 0 {
                said.push(char::from(byte[0]));
            }
            let code = code_in(&said);
            (out, said, code.unwrap_or_default())
        })
        .await
        .unwrap();
        child.stdout = Some(out);
        let login = Self { child, home, said, code };
        if login.code.is_empty() {
            panic!("no code was shown: {}", login.end().await.1);
        }
        login
    }

    /// How it ends, and what it said.
    async fn end(mut self) -> (bool, String, tempfile::TempDir) {
        tokio::task::spawn_blocking(move || {
            let mut said = self.said;
            let (mut rest, mut error) = (Vec::new(), String::new());
            self.child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
            self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            said.push_str(&String::from_utf8_lossy(&rest));
            (self.child.wait().unwrap().success(), said + &error, self.home)
        })
        .await
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hf_auth_login_as_people_run_it() {
    let stage = Stage::set(Clock::system(), Rights::Write).await;
    let (at_terminal, in_script) = tokio::join!(Login::start(&stage, true), Login::start(&stage, false));
    let page = format!("{}/console/device?code=", stage.hub.url);
    assert!(at_terminal.said.contains(&format!("{page}{}", at_terminal.code)), "{}", at_terminal.said);
    // The page where the address leads: first who one is, then who asks, then one's word.
    let path = format!("/console/device?code={}", in_script.code);
    let to = stage.http.get(format!("{}{path}", stage.hub.url)).header("accept-language", "zh").send().await.unwrap();
    let path = to.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(path, format!("/console/zh/device?code={}", in_script.code));
    let to = stage.http.get(format!("{}{path}", stage.hub.url)).send().await.unwrap();
    assert_eq!(to.headers()["location"], format!("/console/zh/login?next={}", path.replace('?', "%3F")).as_str());
    let login = format!("token={}&next={path}", stage.ada.secret);
    let to = stage.form("/console/zh/login", "", &login).await;
    assert_eq!((to.status().as_u16(), to.headers()["location"].to_str().unwrap()), (303, path.as_str()));
    let (status, shown) = stage.page(&path.replace("/zh/", "/en/"), &cookie(&stage.ada.secret)).await;
    assert_eq!(status, 200);
    for text in [&in_script.code, "ada", "python-httpx", "127.0.0.1", "(hf auth login)", "read and write"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.contains("<script"));
    let done = stage.decide(&stage.ada, &in_script.code, "decision=approve&may=read").await.text().await.unwrap();
    assert!(done.contains("Approved") && done.contains("ada"), "{done}");
    let done = stage.decide(&stage.ada, &at_terminal.code, "decision=approve&may=write").await;
    assert_eq!(done.status(), 200);
    for (login, role) in [(at_terminal, "write"), (in_script, "read")] {
        let began = Instant::now();
        let (fine, said, home) = login.end().await;
        assert!(fine, "{said}");
        assert!(began.elapsed() < Duration::from_secs(30), "{said}");
        assert!(said.contains("This token expires in"), "{said}");
        // What it stored works, under a name, until then.
        let token = std::fs::read_to_string(home.path().join("token")).unwrap();
        let who = stage.whoami(token.trim()).await;
        assert_eq!((&who["name"], &who["auth"]["accessToken"]["role"]), (&"ada".into(), &role.into()), "{who}");
        let name = who["auth"]["accessToken"]["displayName"].as_str().unwrap();
        assert!(name.starts_with("device login 20"), "{name}");
        let stored = std::fs::read_to_string(home.path().join("stored_tokens")).unwrap();
        assert!(
            stored.contains(name) && stored.contains("expires_at") && !stored.contains("refresh_token"),
            "{stored}"
        );
        let mut hf = Command::new("hf");
        hf.args(["auth", "whoami"])
            .env("HF_ENDPOINT", &stage.hub.url)
            .env("HF_HOME", home.path())
            .env_remove("HF_TOKEN");
        let said = tokio::task::spawn_blocking(move || hf.output()).await.unwrap().unwrap();
        assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("ada"), "{said:?}");
    }
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hf_auth_login_hears_a_no_and_that_time_is_over() {
    let clock = Clock::test(crate::stores::NOW);
    let stage = Stage::set(clock.clone(), Rights::Write).await;
    let (denied, late) = tokio::join!(Login::start(&stage, false), Login::start(&stage, false));
    let page = stage.decide(&stage.ada, &denied.code, "decision=deny").await;
    assert!(page.text().await.unwrap().contains("Denied"));
    let (fine, said, home) = denied.end().await;
    assert!(!fine && said.contains("Authorization was denied"), "{said}");
    assert!(!home.path().join("token").exists());
    clock.advance_ms(15 * 60 * 1_000);
    let (status, _) = stage.page(&format!("/console/en/device?code={}", late.code), &cookie(&stage.ada.secret)).await;
    assert_eq!(status, 404);
    let (fine, said, _) = late.end().await;
    assert!(!fine && said.contains("Device code expired"), "{said}");
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_approves_by_a_command() {
    let stage = Stage::set(Clock::system(), Rights::Read).await;
    let data_dir = stage.hub.dir.path().join("data").display().to_string();
    let run = async |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_allmende"));
        command.args(args).args(["--json", "--data-dir", &data_dir]);
        let said = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let value = serde_json::from_slice::<Value>(&said.stdout);
        (said.status.code(), value.unwrap_or_else(|_| panic!("{said:?}")))
    };
    let (device, code) = stage.begin().await;
    let (status, shown) = run(&["device", "show", &code.to_lowercase()]).await;
    assert_eq!((status, &shown["client"], &shown["code"]), (Some(0), &"test".into(), &code.clone().into()));
    assert_eq!(shown["address"], "127.0.0.1");
    assert_eq!(run(&["device", "approve", &code, "--account", "nobody"]).await.1["error"]["code"], "account.unknown");
    let long = run(&["device", "approve", &code, "--account", "ada", "--valid-for", "9999d"]).await;
    assert_eq!(long.0, Some(2));
    let (status, done) = run(&["device", "approve", &code, "--account", "ada", "--valid-for", "7d"]).await;
    assert_eq!((status, &done["account"], &done["role"]), (Some(0), &"ada".into(), &"write".into()));
    // Once: neither again, nor the other way.
    for args in [&["device", "approve", &code, "--account", "ada"][..], &["device", "deny", &code]] {
        assert_eq!(run(args).await.1["error"]["code"], "device.unknown");
    }
    let token = stage.ask(&device).await.unwrap();
    assert_eq!(
        stage.whoami(&token).await["auth"]["accessToken"]["role"],
        "write",
        "the operator's word, not a token's"
    );
    let (device, code) = stage.begin().await;
    assert_eq!(run(&["device", "deny", &code]).await.0, Some(0));
    assert_eq!(stage.ask(&device).await.unwrap_err(), "access_denied");
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_more_than_was_given() {
    let clock = Clock::test(crate::stores::NOW);
    let stage = Stage::set(clock.clone(), Rights::Write).await;
    // A no by default: who says nothing of writing lends none, and no token is lent longer than it lasts.
    let grants = vec![Grant { place: "ada/model".to_owned(), write: true }];
    let fine = Rights::FineGrained { grants };
    let fine = Someone::with_token(&stage.hub.app, stage.ada.principal.account.clone(), "2", fine).await;
    let (device, code) = stage.begin().await;
    assert_eq!(stage.decide(&fine, &code, "decision=approve&may=write").await.status(), 200);
    let token = stage.ask(&device).await.unwrap();
    assert_eq!(stage.whoami(&token).await["auth"]["accessToken"]["role"], "fineGrained");
    assert_eq!(stage.ask(&device).await.unwrap_err(), "invalid_grant", "once");
    let (device, code) = stage.begin().await;
    assert_eq!(stage.decide(&stage.ada, &code, "decision=approve").await.status(), 200);
    let token = stage.ask(&device).await.unwrap();
    assert_eq!(stage.whoami(&token).await["auth"]["accessToken"]["role"], "read");
    clock.advance_ms(31 * 86_400_000);
    assert!(stage.whoami(&token).await["error"].is_string(), "it ends");
    // What was lent is taken back with the token that it was lent by.
    let (device, code) = stage.begin().await;
    assert_eq!(stage.decide(&fine, &code, "decision=approve&may=write").await.status(), 200);
    let (account, id, now) = (&fine.principal.account, &fine.principal.token.id, clock.now());
    let gone: Result<bool, allmende::db::DbError> =
        transaction!(stage.hub.app.db, tx => { allmende::account::token::revoke(tx, account, id, now).await });
    assert!(gone.unwrap());
    assert_eq!(stage.ask(&device).await.unwrap_err(), "access_denied");
    // Forms of other sites: without the seal, with another code's, another person's, or by the browser's own word.
    let (_, code) = stage.begin().await;
    let (_, other) = stage.begin().await;
    let bob = Someone::new(&stage.hub.app, "bob", Rights::Write).await;
    let seal = async |who: &Someone, code: &str| {
        let (_, page) = stage.page(&format!("/console/en/device?code={code}"), &cookie(&who.secret)).await;
        page.split("name=\"seal\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let (own, others, bobs) = (seal(&stage.ada, &code).await, seal(&stage.ada, &other).await, seal(&bob, &code).await);
    for wrong in ["", "00", &others, &bobs] {
        let form = format!("code={code}&seal={wrong}&decision=approve&may=write");
        assert_eq!(stage.form("/console/en/device", &cookie(&stage.ada.secret), &form).await.status(), 403, "{wrong}");
    }
    let form = format!("code={code}&seal={own}&decision=approve&may=write");
    let foreign = stage.http.post(format!("{}/console/en/device", stage.hub.url)).header("sec-fetch-site", "same-site");
    let foreign = foreign.header("cookie", cookie(&stage.ada.secret)).body(form.clone());
    let foreign = foreign.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
    // Without a sign-in, and by a party's token, which is nobody's own.
    let to = stage.form("/console/en/device", "", &form).await;
    assert_eq!(
        (to.status().as_u16(), to.headers()["location"].to_str().unwrap()),
        (303, "/console/en/login?next=/console/en/device")
    );
    let new = NewToken {
        party: "north".parse().unwrap(),
        scopes: Scopes::parse("read write").unwrap(),
        label: String::new(),
        expires_at: clock.now().plus_ms(86_400_000),
    };
    let issued: Result<_, allmende::auth::AuthError> =
        transaction!(stage.hub.app.db, tx => { issue(tx, &new, 10, clock.now()).await });
    let party = cookie(issued.unwrap().1.secret());
    assert_eq!(stage.page(&format!("/console/en/device?code={code}"), &party).await.0, 403);
    assert_eq!(
        stage.form("/console/en/device", &cookie(&stage.ada.secret), &form).await.status(),
        200,
        "and it waits still"
    );
    // Guessing ends soon, for the one who guesses.
    for n in 0..10 {
        assert_eq!(
            stage.page(&format!("/console/en/device?code=BBBB-BBB{n}"), &cookie(&bob.secret)).await.0,
            404,
            "{n}"
        );
    }
    let right = format!("/console/en/device?code={other}");
    assert_eq!(stage.page(&right, &cookie(&bob.secret)).await.0, 429);
    assert_eq!(stage.page(&right, &cookie(&stage.ada.secret)).await.0, 200);
    clock.advance_ms(11 * 60 * 1_000);
    assert_eq!(stage.page(&right, &cookie(&bob.secret)).await.0, 200);
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_at_the_doors_of_devices() {
    let clock = Clock::test(crate::stores::NOW);
    let stage = Stage::set(clock.clone(), Rights::Write).await;
    let (device, _) = stage.begin().await;
    assert_eq!(stage.ask(&device).await.unwrap_err(), "authorization_pending");
    // Faster than told, each time longer.
    clock.advance_ms(4_000);
    assert_eq!(stage.ask(&device).await.unwrap_err(), "slow_down");
    clock.advance_ms(6_000);
    assert_eq!(stage.ask(&device).await.unwrap_err(), "slow_down");
    clock.advance_ms(15_000);
    assert_eq!(stage.ask(&device).await.unwrap_err(), "authorization_pending");
    for (form, error) in [
        (format!("{GRANT}&client_id=other&device_code={device}"), "invalid_grant"),
        (format!("{GRANT}&client_id=test&device_code="), "invalid_grant"),
        (format!("{GRANT}&client_id=test&device_code={}", "x".repeat(4_000)), "invalid_grant"),
        ("grant_type=refresh_token&refresh_token=x".to_owned(), "unsupported_grant_type"),
        ("grant_type=password&username=ada&password=x".to_owned(), "unsupported_grant_type"),
        ("x".to_owned(), "invalid_request"),
        ("grant_type=%ff%00".to_owned(), "unsupported_grant_type"),
        ("x".repeat(100_000), "invalid_request"),
    ] {
        let answer = stage.form("/oauth/token", "", &form).await;
        assert!(answer.status().is_client_error());
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], error, "{body}");
    }
    let plain = stage.http.post(format!("{}/oauth/device", stage.hub.url)).body("client_id=x").send().await.unwrap();
    assert_eq!(plain.status(), 415);
    // Many from one address.
    for _ in 0..19 {
        stage.begin().await;
    }
    let much = stage.form("/oauth/device", "", "client_id=test").await;
    assert_eq!((much.status().as_u16(), much.headers()["retry-after"].to_str().unwrap()), (429, "60"));
    assert_eq!(much.json::<Value>().await.unwrap()["error"], "temporarily_unavailable");
    clock.advance_ms(15 * 60 * 1_000);
    stage.begin().await;
    // Of what was given, the database alone has nothing.
    let (device, code) = stage.begin().await;
    let rows = sqlx::query_as::<_, (Vec<u8>, Vec<u8>)>("SELECT device, code FROM device_codes");
    let rows = rows.fetch_all(&mut *stage.hub.app.db.read().await.unwrap()).await.unwrap();
    let plain = code.replace('-', "");
    let hashed = allmende_core::digest::Digest::of(plain.as_bytes()).0;
    assert!(rows.iter().all(|(d, c)| d != device.as_bytes() && c != plain.as_bytes() && *c != hashed));
    clock.advance_ms(3 * 86_400_000);
    assert!(allmende::hub::sweep(&stage.hub.app).await.devices > 20);
    stage.hub.stop().await;
}
