//! Repositories as wholes: create, find, move, settings, remove.

use allmende_core::time::Timestamp;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Base, HubError, Known, Perhaps, There, info};
use crate::app::App;
use crate::content::licence;
use crate::error::Code;
use crate::extract::{self, Path};
use crate::repo::find::{self, Filter, MAX_PAGE};
use crate::repo::ops::{self, Wanted};
use crate::repo::{Gate, Kind, Repo, RepoError, Right, Settings, card};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Create {
    name: String,
    organization: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    visibility: Option<String>,
    private: Option<bool>,
    sdk: Option<String>,
}

fn kind(word: Option<&str>) -> Result<Kind, HubError> {
    let word = word.unwrap_or("model");
    Kind::parse(word).ok_or_else(|| HubError::new(Code::BadRequest, format!("Invalid repo type: {word}")))
}

pub(super) fn visibility(word: Option<&str>, private: Option<bool>) -> Result<Option<bool>, HubError> {
    match word {
        None => Ok(private),
        Some("public") => Ok(Some(false)),
        // A space that is protected shows its page and not its files: there are no pages that run here.
        Some("private" | "protected") => Ok(Some(true)),
        Some(other) => Err(HubError::new(Code::BadRequest, format!("Invalid visibility: {other}"))),
    }
}

pub(super) fn address(base: &str, repo: &Repo) -> String {
    format!("{base}/{}{}", repo.kind.prefix(), repo.full_name())
}

/// That a repository is there already, with its address.
pub(super) fn exists(base: &str, repo: &Repo) -> HubError {
    let kind = repo.kind.as_str();
    let text = format!("You already created this {kind} repo: A {kind} repository called {} already exists", repo.name);
    HubError::new(Code::Duplicate, text).with("url", address(base, repo))
}

/// Creates a repository; one that is there already is refused with its address.
pub async fn create(
    State(app): State<App>,
    Base(base): Base,
    Known(principal): Known,
    extract::Json(wanted): extract::Json<Create>,
) -> Result<Json<Value>, HubError> {
    let kind = kind(wanted.kind.as_deref())?;
    let bad = |e: &dyn std::fmt::Display| HubError::new(Code::BadRequest, e.to_string());
    let name = wanted.name.parse().map_err(|e| bad(&e))?;
    let owner = ops::owner(&app, &principal, wanted.organization.as_deref(), &wanted.name).await?;
    let private = visibility(wanted.visibility.as_deref(), wanted.private)?;
    let settings = Settings { sdk: wanted.sdk, ..Settings::default() };
    match ops::create(&app, &principal, Wanted { kind, owner, name, private, settings }).await {
        Ok(repo) => Ok(Json(json!({ "url": address(&base, &repo), "name": repo.full_name(), "id": repo.id }))),
        Err(RepoError::Exists(repo)) => Err(exists(&base, &repo)),
        Err(other) => Err(other.into()),
    }
}

#[derive(Debug, Deserialize)]
pub struct Which {
    name: String,
    organization: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Removes a repository for good.
pub async fn remove(
    State(app): State<App>,
    Known(principal): Known,
    extract::Json(which): extract::Json<Which>,
) -> Result<StatusCode, HubError> {
    let space = which.organization.unwrap_or_else(|| principal.account.name.to_string());
    let kind = kind(which.kind.as_deref())?;
    let there = There::find(&app, Some(principal), Some(kind), &space, &which.name).await?;
    there.who(Right::Admin)?;
    ops::remove(&app, &there.seen.repo).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    from_repo: String,
    to_repo: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Gives a repository another name or owner. The old name goes on leading to it.
pub async fn rename(
    State(app): State<App>,
    Known(principal): Known,
    extract::Json(wanted): extract::Json<Move>,
) -> Result<Json<Value>, HubError> {
    let split = |text: &str| {
        let bad = || HubError::new(Code::BadRequest, format!("Invalid repository name: {text}"));
        text.split_once('/').map(|(space, name)| (space.to_owned(), name.to_owned())).ok_or_else(bad)
    };
    let ((from_space, from_name), (to_space, to_name)) = (split(&wanted.from_repo)?, split(&wanted.to_repo)?);
    let kind = kind(wanted.kind.as_deref())?;
    let owner = ops::owner(&app, &principal, Some(&to_space), &to_name).await;
    let there = There::find(&app, Some(principal), Some(kind), &from_space, &from_name).await?;
    there.who(Right::Admin)?;
    let name =
        to_name.parse().map_err(|e: crate::repo::InvalidRepoName| HubError::new(Code::BadRequest, e.to_string()))?;
    ops::rename(&app, &there.seen.repo, &owner?, &name).await?;
    Ok(Json(json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewSettings {
    pickles_allowed: Option<bool>,
    gated: Option<Value>,
    visibility: Option<String>,
    private: Option<bool>,
}

/// Changes visibility, gate, and whether files that run code when they are loaded may stand in it.
pub async fn settings(
    State(app): State<App>,
    there: There,
    extract::Json(new): extract::Json<NewSettings>,
) -> Result<Json<Value>, HubError> {
    there.who(Right::Admin)?;
    let mut repo = there.seen.repo.clone();
    if let Some(private) = visibility(new.visibility.as_deref(), new.private)? {
        repo.private = private;
    }
    repo.gate = match new.gated {
        None => repo.gate,
        Some(Value::Bool(false)) => Gate::Off,
        Some(Value::String(word)) if word == "auto" => Gate::Auto,
        Some(Value::String(word)) if word == "manual" => Gate::Manual,
        Some(other) => return Err(HubError::new(Code::BadRequest, format!("Invalid gated status: {other}"))),
    };
    repo.settings.pickles_allowed = new.pickles_allowed.unwrap_or(repo.settings.pickles_allowed);
    ops::configure(&app, &repo).await?;
    Ok(Json(json!({
        "private": repo.private, "gated": info::gated(repo.gate), "picklesAllowed": repo.settings.pickles_allowed,
    })))
}

/// Whether the caller may see the repository and what is in it.
pub async fn auth_check(State(app): State<App>, there: There) -> Result<Json<Value>, HubError> {
    there.may_read_files(&app).await?;
    Ok(Json(json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Yaml {
    content: String,
    #[serde(default)]
    repo_type: Option<String>,
}

/// What is wrong with a card, before it is committed; also what the licences of its sources say to its own.
pub async fn validate_yaml(
    State(app): State<App>,
    Perhaps(principal): Perhaps,
    extract::Json(yaml): extract::Json<Yaml>,
) -> Result<impl IntoResponse, HubError> {
    let kind = yaml.repo_type.as_deref().and_then(Kind::parse).unwrap_or(Kind::Model);
    let mut found = card::validate(kind, &yaml.content);
    // A card that names no licence was told so already.
    if let Some(card) = card::read(yaml.content.as_bytes()).filter(|card| card.get("license").is_some()) {
        found.warnings.extend(licence::of(&app, principal.as_ref(), kind, &card).await?.warnings());
    }
    let messages = |texts: &[String]| texts.iter().map(|text| json!({ "message": text })).collect::<Vec<_>>();
    let status = if found.errors.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    Ok((status, Json(json!({ "errors": messages(&found.errors), "warnings": messages(&found.warnings) }))))
}

/// What a list asks for, and how much of each is shown.
#[derive(Debug, Default)]
struct Listing {
    filter: Filter,
    full: bool,
    expand: Vec<String>,
}

impl Listing {
    fn parse(query: &str) -> Self {
        let mut filter = Filter { limit: MAX_PAGE, ..Filter::default() };
        let (mut full, mut expand) = (false, Vec::new());
        for (key, value) in url_pairs(query) {
            match key.as_str() {
                "author" => filter.author = Some(value.to_ascii_lowercase()),
                "search" => filter.search = Some(value.to_lowercase()),
                "filter" | "tags" | "pipeline_tag" | "library" => filter.tags.push(value),
                "limit" => filter.limit = value.parse().unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE),
                "full" | "cardData" => full |= matches!(value.as_str(), "true" | "True" | "1"),
                "expand" | "expand[]" => expand.push(value),
                "cursor" => {
                    filter.before =
                        value.split_once('-').and_then(|(at, id)| Some((Timestamp(at.parse().ok()?), id.to_owned())));
                }
                _ => {}
            }
        }
        Self { filter, full, expand }
    }
}

/// The pairs of a query, decoded.
pub(super) fn url_pairs(query: &str) -> Vec<(String, String)> {
    // serde's form decoding keeps repeated keys apart only as pairs.
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(
        &format!("/?{query}").parse().unwrap_or_else(|_| axum::http::Uri::from_static("/")),
    )
    .map(|pairs| pairs.0)
    .unwrap_or_default()
}

/// Repositories that the caller may see, newest change first.
pub async fn list(
    State(app): State<App>,
    Base(base): Base,
    Path(word): Path<String>,
    Perhaps(principal): Perhaps,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let missing = || HubError::new(Code::NotFound, "this path does not exist");
    let kind = Kind::WITH_HISTORY.into_iter().find(|kind| kind.plural() == word).ok_or_else(missing)?;
    let query = query.unwrap_or_default();
    let listing = Listing::parse(&query);
    let found = find::list(&app, principal.as_ref(), kind, &listing.filter).await?;
    let shown = found.items.iter().map(|(repo, head)| info::summary(repo, head, listing.full, &listing.expand));
    let shown = Value::Array(shown.collect());
    let mut headers = HeaderMap::new();
    if let Some((at, id)) = found.next {
        let kept: Vec<String> =
            query.split('&').filter(|p| !p.is_empty() && !p.starts_with("cursor=")).map(str::to_owned).collect();
        let next = format!("<{base}/api/{word}?{}&cursor={}-{id}>; rel=\"next\"", kept.join("&"), at.0);
        if let Ok(value) = next.parse() {
            headers.insert(axum::http::header::LINK, value);
        }
    }
    Ok((headers, Json(shown)))
}
