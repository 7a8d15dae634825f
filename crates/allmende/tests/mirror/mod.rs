//! Repositories on their way from hub to hub: in bundles that somebody carries, and by mirrors.

mod bundles;
mod hostile;
mod mirrors;
mod processes;

use allmende::git::copy::Tip;
use allmende::repo::{Repo, store};
use allmende::xet::ingest::Ingest;
use allmende_core::signature::PublicKey;
use base64::Engine as _;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::xet::{Person, World};

/// Two hubs that know nothing of each other, and a person on each.
pub struct Pair {
    pub a: World,
    pub b: World,
    pub ada: Person,
    pub bea: Person,
    pub repo: Repo,
}

impl Pair {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings of the second hub.
    pub async fn start_with(settings: &[(&'static str, &str)]) -> Self {
        let (a, b) = (World::start(&[]).await, World::start(settings).await);
        let (ada, bea) = (a.person("ada").await, b.person("bea").await);
        let repo = a.repo(&ada, &ada.account, "model").await;
        Self { a, b, ada, bea, repo }
    }

    pub fn signer(&self) -> PublicKey {
        self.a.hub.app.hub_key.public()
    }

    /// Commits files to the first hub's repository: large ones beside git. Gives the new head.
    pub async fn commit(&self, files: &[(&str, &[u8])]) -> String {
        commit(&self.a, &self.ada, &self.repo, files).await
    }

    /// A bundle of the first hub's repository.
    pub async fn bundle(&self, wanted: Value) -> Vec<u8> {
        let answer = export(&self.a, Some(&self.ada), &self.repo.full_name(), wanted).await;
        assert_eq!(answer.status(), 200);
        let length = answer.content_length().unwrap();
        let bytes = answer.bytes().await.unwrap().to_vec();
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    /// Brings it to the second hub.
    pub async fn bring(&self, bundle: Vec<u8>) -> (u16, Value) {
        bring(&self.b, &self.bea, "bea/copy", bundle, &self.signer()).await
    }

    /// The second hub's repository.
    pub async fn copy(&self) -> Option<Repo> {
        find(&self.b, "bea", "copy").await
    }

    /// Whether both have the same branches and tags.
    pub async fn same(&self) -> bool {
        let copy = self.copy().await.unwrap();
        tips(&self.a, &self.repo).await == tips(&self.b, &copy).await
    }

    pub async fn stop(self) {
        self.a.hub.stop().await;
        self.b.hub.stop().await;
    }
}

pub async fn find(world: &World, space: &str, name: &str) -> Option<Repo> {
    let mut connection = world.hub.app.db.read().await.unwrap();
    store::find(&mut connection, allmende::repo::Kind::Model, space, name).await.unwrap()
}

pub async fn tips(world: &World, repo: &Repo) -> Vec<Tip> {
    world.hub.app.git.repo(&repo.id).tips(&["refs/heads", "refs/tags"]).await.unwrap()
}

pub async fn commit(world: &World, person: &Person, repo: &Repo, files: &[(&str, &[u8])]) -> String {
    let mut lines = vec![json!({ "key": "header", "value": { "summary": "a change" } })];
    for (path, bytes) in files {
        if bytes.len() < 100_000 {
            let content = base64::engine::general_purpose::STANDARD.encode(bytes);
            lines.push(json!({ "key": "file", "value": { "path": path, "content": content, "encoding": "base64" } }));
            continue;
        }
        let mut ingest = Ingest::begin(&world.hub.app, repo).await.unwrap();
        ingest.push(bytes).await.unwrap();
        let stored = ingest.finish().await.unwrap();
        let value = json!({ "path": path, "algo": "sha256", "oid": stored.sha256.hex(), "size": stored.size });
        lines.push(json!({ "key": "lfsFile", "value": value }));
    }
    let body = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let url = format!("{}/api/models/{}/commit/main", world.hub.url, repo.full_name());
    let answer = reqwest::Client::new().post(url).bearer_auth(&person.token).body(body).send().await.unwrap();
    let status = answer.status();
    let said: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{said}");
    said["commitOid"].as_str().unwrap().to_owned()
}

pub async fn call(world: &World, person: Option<&Person>, method: Method, path: &str, body: Option<Value>) -> Response {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", world.hub.url));
    if let Some(person) = person {
        request = request.bearer_auth(&person.token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.unwrap()
}

pub async fn export(world: &World, person: Option<&Person>, name: &str, wanted: Value) -> Response {
    let path = format!("/v1/repositories/models/{name}/bundle");
    call(world, person, Method::POST, &path, Some(wanted)).await
}

pub async fn bring(world: &World, person: &Person, name: &str, bundle: Vec<u8>, signer: &PublicKey) -> (u16, Value) {
    let url = format!("{}/v1/repositories/models/{name}/bundle?signer={signer}", world.hub.url);
    let answer = reqwest::Client::new().put(url).bearer_auth(&person.token).body(bundle).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The bytes of a file as the hub gives them out.
pub async fn file(world: &World, person: &Person, name: &str, revision: &str, path: &str) -> (u16, Vec<u8>) {
    let answer = call(world, Some(person), Method::GET, &format!("/{name}/resolve/{revision}/{path}"), None).await;
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

/// Puts a tag, with a message or as a mere name.
async fn tagged(git: &allmende::git::GitRepo, name: &str, commit: allmende::git::Oid, message: Option<&str>) {
    let new = git.tag(name, commit, message, "Ada <a@b> 0 +0000").await.unwrap();
    let old = allmende::git::Oid::ZERO;
    let change = allmende::git::refs::Change { name: format!("refs/tags/{name}"), old, new };
    git.change_refs(&[change]).await.unwrap();
}
