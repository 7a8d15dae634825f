//! `hf upload` and `hf download` as they come from the package index.

use std::path::Path;
use std::process::Command;

use allmende::clock::Clock;
use allmende::repo::Repo;
use allmende_core::digest::Digest;

use super::{Person, World, noise};

/// Runs a program of the Python environment against the hub, in a home of its own.
async fn run(world: &World, person: &Person, home: &Path, program: &str, args: &[&str]) -> String {
    let (fine, text) = tried(world, person, home, program, args).await;
    assert!(fine, "{program} {args:?}: {text}");
    text
}

/// What `hf` says of what it cannot do.
pub async fn fails(world: &World, person: &Person, home: &Path, args: &[&str]) -> String {
    let (fine, text) = tried(world, person, home, "hf", args).await;
    assert!(!fine, "hf {args:?}: {text}");
    text
}

async fn tried(world: &World, person: &Person, home: &Path, program: &str, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(args).env("HF_ENDPOINT", &world.hub.url).env("HF_TOKEN", &person.token).env("HF_HOME", home);
    command.env("HF_HUB_DISABLE_PROGRESS_BARS", "1").env("HF_HUB_DISABLE_UPDATE_CHECK", "1").env("NO_COLOR", "1");
    command.env("RUST_LOG", "warn").env_remove("HF_HUB_DISABLE_XET");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}; put .venv/bin first in PATH, as ./check does"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// The hash that the client computes for a file.
async fn hash(world: &World, person: &Person, home: &Path, path: &Path) -> String {
    let script = "import sys, hf_xet; print(hf_xet.hash_files([sys.argv[1]])[0].hash)";
    run(world, person, home, "python3", &["-c", script, path.to_str().unwrap()]).await.trim().to_owned()
}

pub async fn upload(world: &World, person: &Person, repo: &Repo, home: &Path, path: &Path, name: &str) {
    run(world, person, home, "hf", &["upload", &repo.full_name(), path.to_str().unwrap(), name]).await;
}

pub async fn download(world: &World, person: &Person, repo: &Repo, name: &str) -> Vec<u8> {
    let home = tempfile::tempdir().unwrap();
    let to = home.path().join("to");
    let args = ["download", &repo.full_name(), name, "--local-dir", to.to_str().unwrap()];
    run(world, person, home.path(), "hf", &args).await;
    std::fs::read(to.join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_uploads_another_downloads_and_little_is_stored_twice() {
    uploaded_and_downloaded(World::start(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_uploads_to_s3_another_downloads() {
    uploaded_and_downloaded(World::in_s3(Clock::system()).await).await;
}

async fn uploaded_and_downloaded(world: World) {
    let ada = world.person("ada").await;
    let repo = world.repo(&ada, &ada.account, "model").await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.safetensors");
    let mut bytes = noise(20_000_000, 1);
    std::fs::write(&path, &bytes).unwrap();
    upload(&world, &ada, &repo, home.path(), &path, "model.safetensors").await;
    let stored = world.held_bytes().await;
    assert!((20_000_000..20_100_000).contains(&stored), "{stored}");
    assert!(download(&world, &ada, &repo, "model.safetensors").await == bytes);
    // What the client computes is what is shown.
    let sha256 = Digest::of(&bytes).hex();
    let held = allmende::repo::large::xet(&mut world.hub.app.db.read().await.unwrap(), &repo, &sha256).await.unwrap();
    assert_eq!(held.unwrap().to_string(), hash(&world, &ada, home.path(), &path).await);
    // A thousand bytes in the middle, by a client that remembers and by one that asks.
    for (seed, remembers) in [(2, true), (3, false)] {
        let before = world.held_bytes().await;
        bytes.splice(9_000_000..9_000_000, noise(1_000, seed));
        std::fs::write(&path, &bytes).unwrap();
        let other = tempfile::tempdir().unwrap();
        let home = if remembers { home.path() } else { other.path() };
        upload(&world, &ada, &repo, home, &path, "model.safetensors").await;
        let new = world.held_bytes().await - before;
        eprintln!("1 kB inserted: {new} bytes more are stored (remembers: {remembers})");
        assert!(new < 1_000_000, "{new} (remembers: {remembers})");
        assert!(download(&world, &ada, &repo, "model.safetensors").await == bytes);
    }
    // Without Xet the same bytes come as a stream that the hub puts together.
    let url = format!("{}/{}/resolve/main/model.safetensors", world.hub.url, repo.full_name());
    let whole = reqwest::Client::new().get(&url).bearer_auth(&ada.token).send().await.unwrap();
    assert!(whole.headers().contains_key("x-xet-hash"));
    assert!(whole.headers()["link"].to_str().unwrap().ends_with("; rel=\"xet-auth\""));
    assert!(whole.bytes().await.unwrap() == bytes);
    let part = reqwest::Client::new().get(&url).bearer_auth(&ada.token).header("range", "bytes=8999990-9001009");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert!(part.bytes().await.unwrap() == bytes[8_999_990..9_001_010]);
    world.hub.stop().await;
}
