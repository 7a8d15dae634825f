//! What people do with repositories beside changing them, through a real server.

use allmende::account::{self, Account, AccountError, Kind, Rights, Role};
use allmende::app::App;
use allmende::auth::NoKeys;
use allmende::clock::Clock;
use allmende::server::serve;
use allmende::transaction;
use axum::http::HeaderMap;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http::{config, nouns};
use crate::stores::{NOW, Store};

mod access;
mod at_once;
mod collections;
mod likes;
mod outbound;
mod webhooks_sent;
mod webhooks_told;

/// A hub with ada, bob and carl; ada writes in the organization north, carl reads there.
struct World {
    app: App,
    url: String,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    _dir: tempfile::TempDir,
    _store: Store,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

fn secret(name: &str) -> String {
    format!("hf_{name:_<24}")
}

impl World {
    async fn start(store: Store, settings: &[(&'static str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = store.options.url.clone();
        let all: Vec<_> = settings.iter().copied().chain([("database_url", url.as_str())]).collect();
        let app = App::start(config(&dir, &all), Clock::test(NOW), nouns(NoKeys)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(app.clone(), listener, async {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let world = Self { app, url, http, stop: Some(stop), server, _dir: dir, _store: store };
        let north = world.account("north", Kind::Organization).await;
        for (name, role) in [("ada", Some(Role::Write)), ("bob", None), ("carl", Some(Role::Read))] {
            let account = world.account(name, Kind::User).await;
            world.token(&account, name, &Rights::Write).await;
            world.token(&account, &format!("{name}-reads"), &Rights::Read).await;
            if let Some(role) = role {
                let joined: Result<(), AccountError> = transaction!(world.app.db, tx => {
                    account::store::set_member(tx, &north, &account, role).await
                });
                joined.unwrap();
            }
        }
        world
    }

    async fn account(&self, name: &str, kind: Kind) -> Account {
        let name = name.parse().unwrap();
        let made: Result<Account, AccountError> = transaction!(self.app.db, tx => {
            account::store::create(tx, kind, &name, name.as_str(), None, false, NOW).await
        });
        made.unwrap()
    }

    async fn token(&self, account: &Account, name: &str, rights: &Rights) {
        let made: Result<String, AccountError> = transaction!(self.app.db, tx => {
            account::token::issue(tx, account, &secret(name), name, rights, None, NOW).await
        });
        made.unwrap();
    }

    async fn call(&self, who: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !who.is_empty() {
            request = request.bearer_auth(secret(who));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.unwrap();
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    async fn get(&self, who: &str, path: &str) -> Answer {
        self.call(who, Method::GET, path, None).await
    }

    async fn post(&self, who: &str, path: &str, body: Value) -> Answer {
        self.call(who, Method::POST, path, Some(body)).await
    }

    /// A model of ada's, or of north's if `name` says so.
    async fn model(&self, name: &str, private: bool) {
        let visibility = if private { "private" } else { "public" };
        let (organization, name) = name.split_once('/').unwrap();
        let body = json!({ "name": name, "organization": organization, "type": "model", "visibility": visibility });
        assert_eq!(self.post("ada", "/api/repos/create", body).await.status, 200);
    }

    async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(std::time::Duration::from_secs(10), self.server).await.unwrap().unwrap();
    }
}
