//! Pages of lists that are sorted by time.

use allmende_core::time::Timestamp;
use axum::http::{HeaderMap, header};

use super::repos::url_pairs;
use crate::exchange::Cursor;

/// What a query asks of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub limit: usize,
    pub before: Option<Cursor>,
    pairs: Vec<(String, String)>,
    query: String,
}

impl Page {
    /// Reads a query.
    pub fn of(query: Option<String>, default: usize, most: usize) -> Self {
        let query = query.unwrap_or_default();
        let pairs = url_pairs(&query);
        let find = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let limit = find("limit").and_then(|text| text.parse().ok()).unwrap_or(default).clamp(1, most);
        let before = find("cursor").and_then(|text| {
            let (at, id) = text.split_once('-')?;
            Some((Timestamp(at.parse().ok()?), id.to_owned()))
        });
        Self { limit, before, pairs, query }
    }

    /// All values of a key.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// One more than fits, so that it is known whether there is more.
    pub fn rows(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// The headers of an answer that goes on after `next`.
    pub fn headers(&self, base: &str, path: &str, next: Option<&Cursor>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some((at, id)) = next {
            let kept = self.query.split('&').filter(|p| !p.is_empty() && !p.starts_with("cursor="));
            let pairs: Vec<String> = kept.map(str::to_owned).chain([format!("cursor={}-{id}", at.0)]).collect();
            if let Ok(value) = format!("<{base}{path}?{}>; rel=\"next\"", pairs.join("&")).parse() {
                headers.insert(header::LINK, value);
            }
        }
        headers
    }
}
