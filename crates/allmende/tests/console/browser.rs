//! Pages in a real, headless Chromium, driven through chromedriver by plain WebDriver.
//!
//! `CONSOLE_SCREENSHOTS=folder` keeps a picture of every page, in both languages, at two widths, light and dark.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{hub, token};

/// Phones that people still carry are this narrow.
const PHONE: (u32, u32) = (390, 844);
const DESKTOP: (u32, u32) = (1280, 900);

struct Driver {
    process: Child,
    http: reqwest::Client,
    base: String,
    _profile: tempfile::TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Driver {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser test needs Chromium: apt-get install chromium chromium-driver");
        allmende::tls::install_provider();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let mut driver = Self { process, http, base, _profile: tempfile::tempdir().unwrap() };
        for _ in 0..100 {
            if driver.http.get(format!("{}/status", driver.base)).send().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let profile = driver._profile.path().display().to_string();
        let arguments = [
            "--headless=new",
            // Containers run tests as root, where Chromium's own sandbox cannot start; pages are the hub's own.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &format!("--user-data-dir={profile}"),
        ];
        let options = json!({ "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } } } });
        let session = driver.call("session", wanted).await;
        driver.base = format!("{}/session/{}", driver.base, session["sessionId"].as_str().unwrap());
        driver
    }

    async fn call(&self, path: &str, body: Value) -> Value {
        let answer = self.http.post(format!("{}/{path}", self.base)).json(&body).send().await.unwrap();
        let value: Value = answer.json().await.unwrap();
        assert!(value["value"].get("error").is_none(), "{path}: {}", value["value"]);
        value["value"].clone()
    }

    async fn devtools(&self, command: &str, params: Value) -> Value {
        self.call("goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    async fn look(&self, (width, height): (u32, u32), dark: bool) {
        let mobile = width < 600;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
    }

    async fn open(&self, url: &str) {
        self.call("url", json!({ "url": url })).await;
    }

    /// Runs in the page as the developer's tools do, which the page's policy does not bind.
    async fn run(&self, script: &str) -> Value {
        self.call("execute/sync", json!({ "script": script, "args": [] })).await
    }

    async fn complaints(&self) -> Vec<String> {
        let log = self.call("se/log", json!({ "type": "browser" })).await;
        let bad = |entry: &Value| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"));
        log.as_array().unwrap().iter().filter(|e| bad(e)).map(|e| e["message"].to_string()).collect()
    }

    async fn keep_picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("CONSOLE_SCREENSHOTS") else { return };
        let picture = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }
}

/// What no page may do to its reader.
const AUDIT: &str = r#"
const faults = [];
const root = document.documentElement;
if (root.scrollWidth > root.clientWidth) faults.push(`page is ${root.scrollWidth} wide in ${root.clientWidth}`);
for (const table of document.querySelectorAll('table')) {
  if (!table.caption || !table.caption.textContent.trim()) faults.push('table without caption');
  if (!table.closest('.scroll')) faults.push('table outside a scrolling box');
}
let last = 0;
for (const heading of document.querySelectorAll('h1,h2,h3,h4')) {
  const level = Number(heading.tagName[1]);
  if (level > last + 1) faults.push(`heading ${heading.tagName} after h${last}: ${heading.textContent}`);
  last = level;
}
for (const input of document.querySelectorAll('input:not([type=hidden])'))
  if (!input.labels.length) faults.push('input without label');
const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
const luminance = (c) => 0.2126 * channel(c.r) + 0.7152 * channel(c.g) + 0.0722 * channel(c.b);
const over = (top, below) => { const m = (x, y) => x * top.a + y * (1 - top.a); return { r: m(top.r, below.r), g: m(top.g, below.g), b: m(top.b, below.b), a: 1 }; };
const behind = (node) => {
  if (!node) return { r: 255, g: 255, b: 255, a: 1 };
  const own = parse(getComputedStyle(node).backgroundColor);
  return own.a >= 1 ? own : over(own, behind(node.parentElement));
};
for (const node of document.body.querySelectorAll('*')) {
  if (node.closest('svg, .skip, .sr') || ![...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
  const back = behind(node);
  const fore = luminance(over(parse(getComputedStyle(node).color), back)), ground = luminance(back);
  const contrast = (Math.max(fore, ground) + 0.05) / (Math.min(fore, ground) + 0.05);
  if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
}
return faults;
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fit_read_well_and_raise_no_complaint_in_a_real_browser() {
    let (hub, world) = hub().await;
    let browser = Driver::start().await;
    // People sign in through the form, in Chinese as in English.
    browser.open(&format!("{}/console/zh/c/handwriting", hub.url)).await;
    browser.look(PHONE, false).await;
    assert_eq!(browser.run(AUDIT).await, json!([]));
    browser.keep_picture("login-zh-phone-light").await;
    let token = token(&hub, "north", "read").await;
    let field = browser.call("element", json!({ "using": "css selector", "value": "#token" })).await;
    let field = field.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
    browser.call(&format!("element/{field}/value"), json!({ "text": format!("{token}\n") })).await;
    for _ in 0..50 {
        if browser.run("return location.pathname").await == json!("/console/zh/c/handwriting") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(browser.run("return location.pathname").await, json!("/console/zh/c/handwriting"));

    let terms = world.state.agreements().keys().next().unwrap().hex();
    let pages = [
        ("collaborations", String::new()),
        ("overview", "c/handwriting".to_owned()),
        ("agreements", "c/handwriting/terms".to_owned()),
        ("terms", format!("c/handwriting/terms/{terms}")),
        ("runs", "c/handwriting/runs".to_owned()),
        ("run", "c/handwriting/runs/first-model".to_owned()),
        ("benefit", "c/handwriting/benefit".to_owned()),
        ("ledger", "c/handwriting/ledger".to_owned()),
        ("entry", "c/handwriting/ledger/24".to_owned()),
        ("missing", "c/nothing".to_owned()),
    ];
    let writer = super::token(&hub, "north", "read write").await;
    super::repositories::fill(&hub.url, &writer, "north").await;
    let model = "r/models/north/digits";
    let pages: Vec<_> = pages
        .into_iter()
        .chain([
            ("repositories", "r".to_owned()),
            ("card", model.to_owned()),
            ("files", format!("{model}/tree/main")),
            ("text", format!("{model}/file/main/notes/a%20b.txt")),
            ("tensors", format!("{model}/file/main/model.safetensors")),
            ("history", format!("{model}/history/main")),
            ("commit", format!("{model}/commit/main")),
            ("compare", format!("{model}/compare?base=first&head=main")),
            ("discussions", format!("{model}/discussions")),
            ("discussion", format!("{model}/discussions/1")),
            ("pull", format!("{model}/discussions/2")),
            ("rows", "r/datasets/north/rows/rows".to_owned()),
            ("buckets", "r?kind=buckets".to_owned()),
            ("bucket", "r/buckets/north/scratch".to_owned()),
            ("folder", "r/buckets/north/scratch?folder=logs".to_owned()),
        ])
        .collect();
    for (name, page) in &pages {
        for lang in ["en", "zh"] {
            browser.open(&format!("{}/console/{lang}/{page}", hub.url)).await;
            for (device, size) in [("phone", PHONE), ("desktop", DESKTOP)] {
                for dark in [false, true] {
                    browser.look(size, dark).await;
                    let shade = if dark { "dark" } else { "light" };
                    let name = format!("{name}-{lang}-{device}-{shade}");
                    assert_eq!(browser.run(AUDIT).await, json!([]), "{name}");
                    browser.keep_picture(&name).await;
                }
            }
            let complaints = browser.complaints().await;
            // The page that is not there is reported as such, and nothing else.
            let expected = usize::from(*name == "missing");
            assert_eq!(complaints.len(), expected, "{name} {lang}: {complaints:?}");
        }
    }
    hub.stop().await;
}
