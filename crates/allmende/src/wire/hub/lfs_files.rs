//! The large files that a repository holds: all of them, those that are deleted for good, those that another repository gets.

use allmende_core::digest::Digest;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::repos::url_pairs;
use super::{Base, HubError, There, iso};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::extract;
use crate::repo::{Kind, Right, cited, large, terms};
use crate::xet::copy;

/// Files in one page.
const PAGE: i64 = 1_000;
/// Most files of one request.
const MAX_FILES: usize = 1_000;

/// What the repository holds, whether a revision cites it or not. For those who may write: names stand in it that no branch
/// shows any more.
pub async fn list(
    State(app): State<App>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    there.who(Right::Write)?;
    let pairs = url_pairs(&query.unwrap_or_default());
    let after = pairs.iter().find(|(key, _)| key == "cursor").map_or("", |(_, value)| value.as_str());
    let repo = &there.seen.repo;
    let files = large::list(&mut *app.db.read().await?, repo, after, PAGE).await?;
    let mut headers = HeaderMap::new();
    if let (Some((last, ..)), true) = (files.last(), files.len() as i64 == PAGE) {
        let path = format!("{base}/api/{}/{}/lfs-files", repo.kind.plural(), repo.full_name());
        if let Ok(value) = format!("<{path}?cursor={last}>; rel=\"next\"").parse() {
            headers.insert(header::LINK, value);
        }
    }
    let places = cited::places(&there.git(&app)).await?;
    let shown = files.into_iter().map(|(sha256, size, held_at)| {
        let place = places.get(&sha256);
        // What was never committed stands nowhere.
        let path = place.map_or("", |place| place.path.as_str());
        let oid = place.map_or_else(|| sha256.clone(), |place| place.oid.to_string());
        let git_ref = place.and_then(|place| place.git_ref.as_deref());
        json!({
            "fileOid": sha256, "oid": oid, "filename": path, "size": size, "pushedAt": iso(held_at), "ref": git_ref,
        })
    });
    Ok((headers, Json(shown.collect())))
}

#[derive(Debug, Deserialize)]
pub struct Batch {
    deletions: Deletions,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deletions {
    sha: Vec<String>,
    #[serde(default)]
    rewrite_history: bool,
}

fn sha256(text: &str) -> Result<Digest, HubError> {
    let bad = |_| HubError::new(Code::BadRequest, "a large file is named by the 64 digits of its SHA-256");
    format!("sha256:{text}").parse().map_err(bad)
}

fn too_many(count: usize) -> Result<(), HubError> {
    if count > MAX_FILES {
        return Err(HubError::new(Code::BadRequest, format!("more than {MAX_FILES} files in one request")));
    }
    Ok(())
}

/// Deletes files for good, with their pointers if that is asked for.
pub async fn batch(
    State(app): State<App>,
    there: There,
    extract::Json(batch): extract::Json<Batch>,
) -> Result<StatusCode, HubError> {
    there.who(Right::Admin)?;
    let Deletions { sha, rewrite_history } = batch.deletions;
    too_many(sha.len())?;
    let files: Vec<Digest> = sha.iter().map(|text| sha256(text)).collect::<Result<_, _>>()?;
    cited::forget(&app, &there.seen, &files, rewrite_history).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Deserialize)]
pub struct Duplicate {
    target: Target,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct Target {
    #[serde(rename = "type")]
    kind: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    sha256: String,
    #[serde(default)]
    xet_hash: Option<String>,
}

/// Lets another repository hold files of this one, whose files the caller may read now. What cannot be is said of each file.
pub async fn duplicate(
    State(app): State<App>,
    there: There,
    extract::Json(asked): extract::Json<Duplicate>,
) -> Result<Json<Value>, HubError> {
    let principal = there.who(Right::Read)?.clone();
    there.may_read_files(&app).await?;
    too_many(asked.files.len())?;
    let (space, name) = asked.target.name.split_once('/').unwrap_or(("", &asked.target.name));
    let kind = Kind::parse(&asked.target.kind).filter(|kind| kind.has_history());
    let target = There::find(&app, Some(principal), kind, space, name).await?;
    target.who(Right::Write)?;
    let (from, to) = (&there.seen.repo, &target.seen.repo);
    terms::may_leave(&app, target.who(Right::Write)?, from, to.collaboration.as_ref()).await?;
    let mut failed = Vec::new();
    for file in &asked.files {
        let fail = |error: &str| json!({ "sha256": file.sha256, "error": error });
        let Ok(sha256) = sha256(&file.sha256) else {
            failed.push(fail("this is no SHA-256"));
            continue;
        };
        let hash = large::xet(&mut *app.db.read().await?, from, &file.sha256).await?;
        if file.xet_hash.is_some() && hash.map(|hash| hash.to_string()) != file.xet_hash {
            failed.push(fail("the repository does not hold this file"));
            continue;
        }
        if let Err(error) = copy::file(&app, from, to, &sha256).await {
            let error = ApiError::from(error);
            if error.code() == Code::Internal {
                return Err(error.into());
            }
            failed.push(fail(&error.problem().detail));
        }
    }
    Ok(Json(json!({ "success": failed.is_empty(), "failed": failed })))
}
