//! Routes of the console, and what goes around every page.

use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, RunId};
use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::Markup;
use serde::Deserialize;

use super::pages::{self, Page, Tab};
use super::session::{self, Reader};
use super::text::Lang;
use super::theme;
use crate::app::App;
use crate::collaboration::{may_read, readable};
use crate::error::{ApiError, Code};
use crate::extract::{self, Path, Query};
use crate::ledger::{read, store};
use crate::{projection, view};

/// No script, no frame, nothing from elsewhere; forms go to the hub itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
/// Entries on a page of the ledger.
const ENTRIES_PER_PAGE: u64 = 50;

/// Routes of the console, below `/console`.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/console", get(entrance))
        .route("/console/", get(entrance))
        .route("/console/style/{name}", get(style))
        .route("/console/icon.svg", get(icon))
        .route("/console/{lang}/", get(collaborations))
        .route("/console/{lang}/login", get(login_page).post(login))
        .route("/console/{lang}/logout", post(logout))
        .route("/console/{lang}/c/{c}", get(overview))
        .route("/console/{lang}/c/{c}/terms", get(terms_list))
        .route("/console/{lang}/c/{c}/terms/{digest}", get(terms))
        .route("/console/{lang}/c/{c}/runs", get(runs))
        .route("/console/{lang}/c/{c}/runs/{run}", get(run))
        .route("/console/{lang}/c/{c}/benefit", get(benefit))
        .route("/console/{lang}/c/{c}/ledger", get(ledger))
        .route("/console/{lang}/c/{c}/ledger/{index}", get(entry))
        .route("/console/{lang}/c/{c}/ledger/{index}/receipt", get(entry_receipt))
        .merge(super::device::routes())
        .merge(super::repositories::routes())
}

/// The language and the address of the page asked for.
pub(super) struct Asked {
    pub lang: Lang,
    pub path: String,
    /// Whether a token came along.
    pub signed_in: bool,
}

impl FromRequestParts<App> for Asked {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Response> {
        let path = parts.uri.path_and_query().map_or("/console/", |p| p.as_str()).to_owned();
        let signed_in = session::is_signed_in(&parts.headers);
        let code = path.split('/').nth(2).unwrap_or_default();
        match Lang::of_path(code) {
            Some(lang) => Ok(Self { lang, path, signed_in }),
            None => Err(fault(&Self { lang: Lang::En, path, signed_in }, &ApiError::not_found("this page"))),
        }
    }
}

/// A page with its headers.
pub(super) fn page(status: StatusCode, markup: Markup) -> Response {
    let mut response =
        (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], markup.into_string()).into_response();
    let headers = response.headers_mut();
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What went wrong as a page; who has not signed in is asked to.
pub(super) fn fault(asked: &Asked, error: &ApiError) -> Response {
    if error.code() == Code::Unauthenticated {
        let mut target = format!("/console/{}/login", asked.lang.code());
        if is_local(&asked.path) {
            target.push_str(&format!("?next={}", asked.path.replace('&', "%26").replace('?', "%3F")));
        }
        return Redirect::to(&target).into_response();
    }
    let problem = error.problem();
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    page(status, pages::fault(asked.lang, &asked.path, asked.signed_in, &problem))
}

/// Whether a path leads to one of these pages: nobody can be sent elsewhere by a crafted link.
fn is_local(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'?' | b'=' | b'&' | b':');
    path.starts_with("/console/") && path.len() < 500 && path.bytes().all(plain) && !path.contains("..")
}

/// Answers with a page, or with the error as one.
macro_rules! answer {
    ($asked:expr, $body:block) => {{
        let result: Result<Markup, ApiError> = async { $body }.await;
        match result {
            Ok(markup) => page(StatusCode::OK, markup),
            Err(error) => fault(&$asked, &error),
        }
    }};
}

type Read = Result<Reader, ApiError>;

async fn entrance(headers: HeaderMap) -> Redirect {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    Redirect::to(&format!("/console/{}/", Lang::accepted(accepted).code()))
}

async fn style(Path(name): Path<String>, headers: HeaderMap) -> Response {
    if name != theme::style_name() {
        return ApiError::not_found("this style").into_response();
    }
    let etag = format!("\"{name}\"");
    if headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(&etag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    // Its name is its digest, so it may be kept for ever.
    let head = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8".to_owned()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
        (header::ETAG, etag),
    ];
    (head, theme::STYLE).into_response()
}

async fn icon() -> Response {
    let head = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "public, max-age=86400")];
    (head, theme::ICON).into_response()
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

async fn login_page(asked: Asked, Query(query): Query<Next>) -> Response {
    page(StatusCode::OK, pages::login(asked.lang, &query.next, None))
}

async fn login(
    State(app): State<App>,
    asked: Asked,
    headers: HeaderMap,
    form: Result<extract::Form<Form>, ApiError>,
) -> Response {
    if !session::is_own_form(&headers) {
        return fault(&asked, &ApiError::new(Code::Forbidden, "this form came from another site"));
    }
    let form = match form {
        Ok(extract::Form(form)) => form,
        Err(error) => return fault(&asked, &error),
    };
    let token = form.token.trim();
    match session::recognize(&app, token).await {
        Ok(party) => {
            let start = if party { "" } else { "r" };
            let start = || format!("/console/{}/{start}", asked.lang.code());
            let target = if is_local(&form.next) { form.next } else { start() };
            let mut response = Redirect::to(&target).into_response();
            if let Some(cookie) = session::cookie(&app.config, Some(token)) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(error) if matches!(error.code(), Code::Unauthenticated | Code::MissingScope) => {
            page(StatusCode::UNAUTHORIZED, pages::login(asked.lang, &form.next, Some(error.code())))
        }
        Err(error) => fault(&asked, &error),
    }
}

#[derive(Deserialize)]
struct Form {
    token: String,
    #[serde(default)]
    next: String,
}

async fn logout(State(app): State<App>, asked: Asked, headers: HeaderMap) -> Response {
    if !session::is_own_form(&headers) {
        return fault(&asked, &ApiError::new(Code::Forbidden, "this form came from another site"));
    }
    let mut response = Redirect::to(&format!("/console/{}/login", asked.lang.code())).into_response();
    if let Some(cookie) = session::cookie(&app.config, None) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: String,
}

async fn collaborations(State(app): State<App>, asked: Asked, reader: Read, Query(query): Query<After>) -> Response {
    answer!(asked, {
        let caller = reader?.0;
        let limit = app.config.max_page_items;
        let names = projection::collaborations_of(&app.db, &caller.party, &query.after, limit).await?;
        let mut items = Vec::new();
        for name in &names {
            let Ok(id) = name.parse::<CollaborationId>() else { continue };
            let Some(log) = app.logs.get(&id).await? else { continue };
            let state = log.state().await?;
            if may_read(&state, &caller.party) {
                items.extend(view::collaboration(&state, app.clock.now(), asked.lang.language()));
            }
        }
        let next = if names.len() as u64 == limit { names.last().map(String::as_str) } else { None };
        Ok(pages::collaborations(asked.lang, &asked.path, caller.party.as_str(), &items, next))
    })
}

/// Loads the collaboration's state for its reader and shows one of its tabs.
macro_rules! tab {
    ($app:expr, $asked:expr, $reader:expr, $c:expr, $tab:expr, |$log:ident, $state:ident, $page:ident| $body:block) => {
        answer!($asked, {
            let caller = $reader?.0;
            let $log = readable(&$app, &$c, &caller.party).await?;
            let $state = $log.state().await?;
            let title = $state.charter().map_or_else(|| $c.to_string(), |c| c.title.clone());
            let id = $c.to_string();
            let $page = Page { lang: $asked.lang, path: &$asked.path, collaboration: &id, title: &title, tab: $tab };
            $body
        })
    };
}

async fn overview(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c)): Path<(String, CollaborationId)>,
) -> Response {
    tab!(app, asked, reader, c, Tab::Overview, |log, state, page| {
        let now = app.clock.now();
        let shown = view::collaboration(&state, now, asked.lang.language());
        let shown = shown.ok_or_else(|| ApiError::not_found("this collaboration"))?;
        Ok(pages::overview(&page, &shown, &view::assets(&state)))
    })
}

async fn terms_list(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c)): Path<(String, CollaborationId)>,
) -> Response {
    tab!(app, asked, reader, c, Tab::Terms, |log, state, page| {
        Ok(pages::terms_list(&page, &view::agreements(&state, app.clock.now())))
    })
}

async fn terms(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c, digest)): Path<(String, CollaborationId, String)>,
) -> Response {
    tab!(app, asked, reader, c, Tab::Terms, |log, state, page| {
        let missing = || ApiError::not_found("these terms");
        let digest: Digest = format!("sha256:{digest}").parse().map_err(|_| missing())?;
        let shown = view::agreement(&state, &digest, app.clock.now(), asked.lang.language()).ok_or_else(missing)?;
        Ok(pages::terms(&page, &shown))
    })
}

async fn runs(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c)): Path<(String, CollaborationId)>,
) -> Response {
    tab!(app, asked, reader, c, Tab::Runs, |log, state, page| { Ok(pages::runs(&page, &view::runs(&state))) })
}

async fn run(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c, id)): Path<(String, CollaborationId, RunId)>,
) -> Response {
    tab!(app, asked, reader, c, Tab::Runs, |log, state, page| {
        let shown = view::run(&state, &id).ok_or_else(|| ApiError::not_found(format!("run {id}")))?;
        Ok(pages::run(&page, &shown, view::contribution(&state, &id).as_ref()))
    })
}

async fn benefit(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c)): Path<(String, CollaborationId)>,
) -> Response {
    tab!(app, asked, reader, c, Tab::Benefit, |log, state, page| {
        let contributions: Vec<_> = state.runs().keys().filter_map(|id| view::contribution(&state, id)).collect();
        Ok(pages::benefit(&page, &contributions, &view::payouts(&state), &view::accounts(&state)))
    })
}

#[derive(Deserialize)]
struct Before {
    before: Option<u64>,
}

async fn ledger(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c)): Path<(String, CollaborationId)>,
    Query(query): Query<Before>,
) -> Response {
    tab!(app, asked, reader, c, Tab::Ledger, |log, state, page| {
        let (size, note) = (state.size(), state.checkpoint().map(ToString::to_string));
        drop(state);
        let end = query.before.unwrap_or(size).min(size);
        let from = end.saturating_sub(ENTRIES_PER_PAGE);
        let rows = store::entries(&mut *app.db.read().await?, c.as_str(), from, end - from).await?;
        let entries: Result<Vec<_>, _> = rows.iter().map(|row| view::entry(row.index, &row.leaf)).collect();
        let mut entries = entries.map_err(ApiError::internal)?;
        entries.reverse();
        Ok(pages::ledger(&page, &entries, size, note.as_deref().unwrap_or_default()))
    })
}

async fn entry(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c, index)): Path<(String, CollaborationId, u64)>,
) -> Response {
    tab!(app, asked, reader, c, Tab::Ledger, |log, state, page| {
        // Reading the receipt takes the lock again, so it is given back first.
        drop(state);
        let receipt = read::receipt(&app.db, &log, index).await?;
        let leaf = receipt.entry.clone().unwrap_or_default();
        let shown = view::entry(index, &leaf).map_err(ApiError::internal)?;
        let json = view::statement_json(&leaf).map_err(ApiError::internal)?;
        Ok(pages::entry(&page, &shown, &json, &receipt))
    })
}

async fn entry_receipt(
    State(app): State<App>,
    asked: Asked,
    reader: Read,
    Path((_, c, index)): Path<(String, CollaborationId, u64)>,
) -> Response {
    let made = async {
        let caller = reader?.0;
        let log = readable(&app, &c, &caller.party).await?;
        Ok::<_, ApiError>(read::receipt(&app.db, &log, index).await?)
    };
    match made.await {
        Ok(receipt) => {
            // Both parts are slugs and digits.
            let name = format!("attachment; filename=\"{c}-{index}.tlog-proof\"");
            let head =
                [(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
            (head, receipt.to_string()).into_response()
        }
        Err(error) => fault(&asked, &error),
    }
}
