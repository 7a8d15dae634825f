//! Lists of repositories, for whoever asks: nobody is told of one that they may not see.

use allmende_core::time::Timestamp;

use super::card::Head;
use super::{Kind, Repo, RepoError, ops, store};
use crate::account::Principal;
use crate::app::App;

/// Most repositories in one answer of a list.
pub const MAX_PAGE: usize = 100;
/// Repositories that are looked at in one go.
const STEP: i64 = 200;
/// Most goes for one page: whoever may see little looks through what others keep to themselves page by page.
const MAX_STEPS: usize = 50;

/// Where a list goes on: when the last one changed, and its id.
pub type Mark = (Timestamp, String);

/// What a list asks for.
#[derive(Debug, Default)]
pub struct Filter {
    /// The owner's name, in lower case.
    pub author: Option<String>,
    /// What stands in `owner/name`, in lower case.
    pub search: Option<String>,
    /// Tags, all of which it has.
    pub tags: Vec<String>,
    /// Most that are wanted, from 1.
    pub limit: usize,
    /// After which one it begins.
    pub before: Option<Mark>,
}

impl Filter {
    /// Whether a repository with this head is asked for.
    #[must_use]
    pub fn admits(&self, repo: &Repo, head: &Head) -> bool {
        let name = repo.full_name();
        self.author.as_ref().is_none_or(|author| repo.owner.name.key() == *author)
            && self.search.as_ref().is_none_or(|text| name.to_lowercase().contains(text.as_str()))
            && self.tags.iter().all(|tag| head.has_tag(tag))
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Found {
    /// The repositories, newest change first, with the index of their heads.
    pub items: Vec<(Repo, Head)>,
    /// Where it goes on, if it does.
    pub next: Option<Mark>,
}

/// The repositories of a kind that `principal` may see, newest change first.
///
/// # Errors
/// [`RepoError`] of the database or a log.
pub async fn list(app: &App, principal: Option<&Principal>, kind: Kind, filter: &Filter) -> Result<Found, RepoError> {
    let mut before = filter.before.clone();
    let mut items = Vec::new();
    for _ in 0..MAX_STEPS {
        let from = before.as_ref().map(|(at, id)| (*at, id.as_str()));
        let page = store::page(&mut *app.db.read().await?, kind, from, STEP).await?;
        let last = page.len() < STEP as usize;
        for (repo, head) in page {
            before = Some((repo.modified_at, repo.id.clone()));
            let head: Head = serde_json::from_str(&head).unwrap_or_default();
            if filter.admits(&repo, &head) && ops::is_visible(app, principal, &repo).await? {
                items.push((repo, head));
                if items.len() == filter.limit {
                    return Ok(Found { items, next: before });
                }
            }
        }
        if last {
            break;
        }
    }
    Ok(Found { items, next: None })
}
