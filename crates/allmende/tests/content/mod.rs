//! What the hub understands of files, through a real server and the clients that people have.

mod licences;
mod pickles;
mod tensors;
mod viewer;

use std::path::Path;
use std::process::Command;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::xet::{Person, World};

/// Runs a program in Python with the real client: `api` is its client, `tmp` an empty folder.
pub async fn python(world: &World, person: &Person, script: &str) -> Value {
    let home = tempfile::tempdir().unwrap();
    let head = "import json, os, struct, sys\nfrom huggingface_hub import HfApi\nimport huggingface_hub as hub\n\
                api = HfApi()\ntmp = os.environ['HF_HOME'] + '/tmp'\nos.makedirs(tmp)\n";
    let mut command = Command::new("python3");
    command.args(["-c", &format!("{head}{script}")]);
    command.env("HF_ENDPOINT", &world.hub.url).env("HF_TOKEN", &person.token).env("HF_HOME", home.path());
    command.env("HF_HUB_DISABLE_PROGRESS_BARS", "1").env("HF_HUB_DISABLE_UPDATE_CHECK", "1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|e| panic!("python3: {e}; put .venv/bin first in PATH, as ./check does"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}: {out}\n{err}"))
}

/// An answer of the hub, and where its next page is.
pub async fn ask(
    world: &World,
    person: Option<&Person>,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value, Option<String>) {
    let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", world.hub.url) };
    let mut request = reqwest::Client::new().request(method, url);
    if let Some(person) = person {
        request = request.bearer_auth(&person.token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let next = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
    let next = next.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
    (answer.status(), answer.json().await.unwrap_or(Value::Null), next)
}

pub async fn get(world: &World, person: &Person, path: &str) -> Value {
    let (status, answer, _) = ask(world, Some(person), Method::GET, path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Lets files that run code into a repository.
pub async fn allow_pickles(world: &World, person: &Person, repo: &str, allow: bool) {
    let path = format!("/api/{repo}/settings");
    let body = json!({ "picklesAllowed": allow });
    let (status, answer, _) = ask(world, Some(person), Method::PUT, &path, Some(body)).await;
    assert_eq!((status.as_u16(), &answer["picklesAllowed"]), (200, &json!(allow)));
}

/// Writes a file.
pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}
