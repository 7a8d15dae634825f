//! Addresses of pages as the public hub has them: clients print them, and whoever follows one in a browser is led to the
//! page here. Where an address leads follows from its letters alone, so that it tells nobody what is there.

use axum::extract::Request;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::text::Lang;
use crate::account::AccountName;
use crate::error::ApiError;
use crate::repo::{Kind, RepoName};

/// Answers where no door is: a browser is led to a page, if the address has one.
pub async fn lead(request: Request) -> Response {
    let text = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_browser = request.method() == Method::GET && text(header::ACCEPT).contains("text/html");
    let lang = Lang::accepted(text(header::ACCEPT_LANGUAGE));
    match page_of(request.uri().path()).filter(|_| is_browser) {
        Some(page) => Redirect::to(&format!("/console/{}/{page}", lang.code())).into_response(),
        None => ApiError::not_found("this path").into_response(),
    }
}

/// The page below `/console/{lang}/` that an address of the public hub stands for. Letters that are written as `%..` stay so.
fn page_of(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return None;
    }
    let (kind, parts) = match parts.split_first()? {
        (&"", []) => return Some("r".to_owned()),
        (first, rest) => match Kind::parse(first).filter(|kind| *first == kind.plural() && kind.has_history()) {
            Some(kind) if rest.is_empty() => return Some(format!("r?kind={}", kind.plural())),
            Some(kind) => (kind, rest),
            None => (Kind::Model, parts.as_slice()),
        },
    };
    let (owner, rest) = parts.split_first().filter(|(owner, _)| owner.parse::<AccountName>().is_ok())?;
    let Some((name, rest)) = rest.split_first() else { return Some(format!("r?owner={owner}")) };
    name.parse::<RepoName>().ok()?;
    let below = match rest {
        [] | ["tree"] => String::new(),
        ["tree", ..] => format!("/{}", rest.join("/")),
        ["blob" | "raw", revision, path @ ..] if !path.is_empty() => format!("/file/{revision}/{}", path.join("/")),
        ["commits"] => "/history/main".to_owned(),
        ["commits", revision] => format!("/history/{revision}"),
        ["commit", revision] => format!("/commit/{revision}"),
        ["discussions"] => "/discussions".to_owned(),
        ["discussions", num, ..] => format!("/discussions/{num}"),
        _ => return None,
    };
    Some(format!("r/{}/{owner}/{name}{below}", kind.plural()))
}

#[cfg(test)]
mod tests {
    use super::page_of;

    #[test]
    fn addresses_of_the_public_hub_lead_to_pages() {
        for (path, page) in [
            ("/", "r"),
            ("/datasets", "r?kind=datasets"),
            ("/ada", "r?owner=ada"),
            ("/ada/digits", "r/models/ada/digits"),
            ("/datasets/ada/rows", "r/datasets/ada/rows"),
            ("/spaces/ada/show/tree/main", "r/spaces/ada/show/tree/main"),
            ("/ada/digits/tree/refs%2Fpr%2F1/a/b%20c", "r/models/ada/digits/tree/refs%2Fpr%2F1/a/b%20c"),
            ("/ada/digits/blob/main/a/b.txt", "r/models/ada/digits/file/main/a/b.txt"),
            ("/ada/digits/commits/main", "r/models/ada/digits/history/main"),
            ("/ada/digits/commit/0123abc", "r/models/ada/digits/commit/0123abc"),
            ("/ada/digits/discussions/3", "r/models/ada/digits/discussions/3"),
        ] {
            assert_eq!(page_of(path).as_deref(), Some(page), "{path}");
        }
        for none in [
            "/api/x",
            "/v1/logs",
            "/ada/digits/blob/main",
            "/ada/digits/edit/main",
            "/ada/../x",
            "/a%2Fb",
            "/ada/a%2F..%2Fb",
        ] {
            assert_eq!(page_of(none), None, "{none}");
        }
    }
}
