//! What a repository is, at a revision.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};

use super::repos::url_pairs;
use super::{HubError, There, iso, understood};
use crate::app::App;
use crate::extract::Path;
use crate::git::GitRepo;
use crate::git::tree::{Entry, EntryKind};
use crate::repo::card::{self, Head};
use crate::repo::{Gate, Kind, Repo, store};

/// The gate as clients read it.
pub fn gated(gate: Gate) -> Value {
    match gate {
        Gate::Off => Value::Bool(false),
        gate => gate.as_str().into(),
    }
}

/// A large file's pointer as clients read it.
pub fn lfs(entry: &Entry) -> Option<Value> {
    let pointer = entry.pointer.as_ref()?;
    Some(json!({ "size": pointer.size, "sha256": pointer.sha256, "oid": pointer.sha256, "pointerSize": entry.size }))
}

fn fields(repo: &Repo, head: &Head) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("author", repo.owner.name.as_str().into());
    put("sha", head.sha.clone().into());
    put("lastModified", iso(repo.modified_at).into());
    put("createdAt", iso(repo.created_at).into());
    put("private", repo.private.into());
    put("gated", gated(repo.gate));
    put("disabled", repo.disabled.into());
    put("downloads", repo.downloads.into());
    put("downloadsAllTime", repo.downloads.into());
    put("likes", repo.likes.into());
    put("trendingScore", 0.into());
    put("tags", head.tags.clone().into());
    put("usedStorage", head.used_bytes.into());
    if let Some(card) = &head.card {
        put("cardData", card.clone());
    }
    match repo.kind {
        Kind::Model => {
            for field in ["library_name", "pipeline_tag", "mask_token"] {
                if let Some(text) = head.text(field) {
                    put(field, text.into());
                }
            }
            if let Some(index) = head.card.as_ref().and_then(|card| card.get("model-index")) {
                put("model-index", index.clone());
            }
        }
        Kind::Space => {
            put("sdk", repo.settings.sdk.clone().or_else(|| head.text("sdk").map(str::to_owned)).into());
            put("subdomain", repo.full_name().replace(['/', '_', '.'], "-").to_lowercase().into());
        }
        Kind::Dataset | Kind::Code | Kind::Kernel | Kind::Bucket => {}
    }
    map
}

/// A repository in a list.
pub fn summary(repo: &Repo, head: &Head, full: bool, expand: &[String]) -> Value {
    let mut all = fields(repo, head);
    if !expand.is_empty() {
        all.retain(|key, _| expand.iter().any(|wanted| wanted == key));
    } else if !full {
        for key in ["author", "sha", "lastModified", "cardData", "usedStorage", "downloadsAllTime"] {
            all.remove(key);
        }
    }
    all.insert("id".to_owned(), repo.full_name().into());
    all.insert("_id".to_owned(), repo.id.clone().into());
    if repo.kind == Kind::Model {
        all.insert("modelId".to_owned(), repo.full_name().into());
    }
    Value::Object(all)
}

async fn siblings(git: &GitRepo, mut entries: Vec<Entry>, blobs: bool) -> Result<Vec<Value>, HubError> {
    if blobs {
        git.pointers(&mut entries).await?;
    }
    let shown = entries.iter().map(|entry| {
        let mut file = json!({ "rfilename": entry.path });
        if let (true, Some(map)) = (blobs, file.as_object_mut()) {
            map.insert("size".to_owned(), entry.file_size().into());
            map.insert("blobId".to_owned(), entry.oid.to_string().into());
            if let Some(lfs) = lfs(entry) {
                map.insert("lfs".to_owned(), lfs);
            }
        }
        file
    });
    Ok(shown.collect())
}

async fn answer(app: &App, there: &There, revision: Option<&str>, query: &str) -> Result<Json<Value>, HubError> {
    let (repo, git) = (&there.seen.repo, there.git(app));
    let pairs = url_pairs(query);
    let flag =
        |name: &str| pairs.iter().any(|(key, value)| key == name && matches!(value.as_str(), "true" | "True" | "1"));
    let expand: Vec<String> =
        pairs.iter().filter(|(key, _)| key == "expand" || key == "expand[]").map(|(_, value)| value.clone()).collect();
    let commit = git.resolve(revision.unwrap_or("main")).await?;
    let head = if revision.is_none_or(|revision| revision == "main") {
        let kept = store::head(&mut *app.db.read().await?, &repo.id).await?;
        serde_json::from_str(&kept).unwrap_or_default()
    } else {
        card::head(&git, commit).await?
    };
    let head = Head { sha: commit.to_string(), ..head };
    let mut shown = summary(repo, &head, true, &expand);
    let asked = |name: &str| expand.is_empty() || expand.iter().any(|wanted| wanted == name);
    let Some(map) = shown.as_object_mut() else { return Ok(Json(shown)) };
    if asked("siblings") || asked("safetensors") || asked("allmende") {
        let mut entries = git.tree(commit, None, true).await?;
        entries.retain(|entry| entry.kind != EntryKind::Folder);
        if asked("safetensors")
            && let Some(counted) = understood::parameters(app, there, &git, &entries).await?
        {
            map.insert("safetensors".to_owned(), counted);
        }
        if asked("allmende") {
            map.insert("allmende".to_owned(), understood::own(app, there, &head, &entries).await?);
        }
        if asked("siblings") {
            map.insert("siblings".to_owned(), siblings(&git, entries, flag("blobs")).await?.into());
        }
    }
    Ok(Json(shown))
}

/// At the head of the main branch.
pub async fn head(State(app): State<App>, there: There, RawQuery(query): RawQuery) -> Result<Json<Value>, HubError> {
    answer(&app, &there, None, &query.unwrap_or_default()).await
}

/// At a revision.
pub async fn revision(
    State(app): State<App>,
    Path((_, _, _, revision)): Path<(String, String, String, String)>,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, HubError> {
    answer(&app, &there, Some(&revision), &query.unwrap_or_default()).await
}
