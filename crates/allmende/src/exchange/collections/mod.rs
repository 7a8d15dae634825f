//! Collections: lists of repositories and of other collections, with notes.

pub mod items;
mod store;

use allmende_core::time::Timestamp;

pub use store::{Filter, Order};

use super::{Cursor, ExchangeError, prose};
use crate::account::store as accounts;
use crate::account::{Account, AccountError, Principal, Role, new_id};
use crate::app::App;
use crate::transaction;

/// Longest title and description, in characters.
const MAX_TITLE_CHARS: usize = 120;
const MAX_DESCRIPTION_CHARS: usize = 1_000;
/// Most collections of one owner.
const MAX_COLLECTIONS: i64 = 10_000;
/// Colours that a page may give them.
const THEMES: [&str; 6] = ["orange", "blue", "green", "purple", "pink", "indigo"];

/// A collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// 24 hexadecimal digits; every address of it ends with them.
    pub id: String,
    /// Whose it is.
    pub owner: Account,
    /// The account that made it.
    pub creator: String,
    /// Its title.
    pub title: String,
    /// What it is about; may be empty.
    pub description: String,
    /// Whether only its owner's people see it.
    pub private: bool,
    /// Its colour.
    pub theme: String,
    /// Its place among its owner's.
    pub place: i64,
    /// Since when.
    pub created_at: Timestamp,
    /// When it or its items last changed.
    pub updated_at: Timestamp,
}

impl Collection {
    /// `owner/title-id`: what its addresses say. The id alone counts.
    #[must_use]
    pub fn slug(&self) -> String {
        let mut title = String::new();
        for c in self.title.chars() {
            if c.is_ascii_alphanumeric() {
                title.push(c.to_ascii_lowercase());
            } else if !title.ends_with('-') && !title.is_empty() {
                title.push('-');
            }
        }
        let title = title.trim_end_matches('-');
        let joint = if title.is_empty() { "" } else { "-" };
        format!("{}/{title}{joint}{}", self.owner.name, self.id)
    }
}

/// Whether `principal` may see a collection.
#[must_use]
pub fn visible(principal: Option<&Principal>, collection: &Collection) -> bool {
    !collection.private || principal.is_some_and(|principal| reads(principal, &collection.owner))
}

fn reads(principal: &Principal, owner: &Account) -> bool {
    principal.role_in(&owner.id).is_some() && principal.token.rights.reach(owner.name.as_str(), "", false)
}

/// The collection of an address, as `principal` sees it.
///
/// # Errors
/// [`ExchangeError::Missing`] when there is none, or none that they may know of.
pub async fn see(
    app: &App,
    principal: Option<&Principal>,
    space: &str,
    slug: &str,
) -> Result<Collection, ExchangeError> {
    let id = slug.rsplit('-').next().unwrap_or_default();
    let found = store::by_id(&mut *app.db.read().await?, id).await?;
    let seen = found.filter(|c| c.owner.name.key() == space.to_ascii_lowercase() && visible(principal, c));
    seen.ok_or(ExchangeError::Missing("Collection"))
}

/// Refuses who may not change a collection: that takes the role to write in its owner's space, or to have made it.
///
/// # Errors
/// [`ExchangeError::Forbidden`].
pub fn may_change(principal: &Principal, collection: &Collection) -> Result<(), ExchangeError> {
    let own = collection.creator == principal.account.id;
    let role = principal.role_in(&collection.owner.id);
    let enough = role.is_some_and(|role| role >= Role::Write || (own && role >= Role::Contributor));
    if enough && principal.token.rights.reach(collection.owner.name.as_str(), "", true) {
        return Ok(());
    }
    Err(ExchangeError::Forbidden("You may not change this collection: it needs the role and a token that may write"))
}

/// What somebody wants to make.
#[derive(Debug, Clone)]
pub struct New {
    /// In whose space; the caller's own if nothing is said.
    pub space: Option<String>,
    /// Its title.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// Whether only its owner's people see it.
    pub private: bool,
}

fn title(text: &str) -> Result<String, ExchangeError> {
    let text = prose("the title", text, MAX_TITLE_CHARS)?;
    if text.is_empty() || text.contains(['\n', '\t']) {
        return Err(ExchangeError::Bad("a collection has a title of one line".to_owned()));
    }
    Ok(text)
}

/// Makes a collection.
///
/// # Errors
/// [`ExchangeError`].
pub async fn create(app: &App, principal: &Principal, new: New) -> Result<Collection, ExchangeError> {
    let owner = match new.space {
        None => principal.account.clone(),
        Some(space) => accounts::by_name(&mut *app.db.read().await?, &space)
            .await?
            .ok_or(ExchangeError::Account(AccountError::Unknown(space)))?,
    };
    let enough = principal.role_in(&owner.id).is_some_and(|role| role >= Role::Contributor);
    if !enough || !principal.token.rights.reach(owner.name.as_str(), "", true) {
        return Err(ExchangeError::Forbidden("You don't have the rights to create a collection under this namespace"));
    }
    let now = app.clock.now();
    let made = Collection {
        id: new_id()?,
        owner,
        creator: principal.account.id.clone(),
        title: title(&new.title)?,
        description: prose("the description", &new.description, MAX_DESCRIPTION_CHARS)?,
        private: new.private,
        theme: THEMES[0].to_owned(),
        place: 0,
        created_at: now,
        updated_at: now,
    };
    transaction!(app.db, tx => {
        if store::count(tx, &made.owner).await? >= MAX_COLLECTIONS {
            return Err(ExchangeError::TooMany(format!("a namespace has at most {MAX_COLLECTIONS} collections")));
        }
        store::insert(tx, &made).await?;
        Ok(())
    })?;
    Ok(made)
}

/// What is to become different.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    /// The title.
    pub title: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// Whether only its owner's people see it.
    pub private: Option<bool>,
    /// The colour.
    pub theme: Option<String>,
    /// The place among its owner's.
    pub place: Option<i64>,
}

/// Changes what a collection says of itself.
///
/// # Errors
/// [`ExchangeError::Bad`].
pub async fn update(app: &App, collection: &Collection, patch: Patch) -> Result<Collection, ExchangeError> {
    let theme = match patch.theme {
        Some(theme) if !THEMES.contains(&theme.as_str()) => {
            return Err(ExchangeError::Bad(format!("the theme is one of {}", THEMES.join(", "))));
        }
        theme => theme,
    };
    if patch.place.is_some_and(|place| !(0..=MAX_COLLECTIONS).contains(&place)) {
        return Err(ExchangeError::Bad(format!("the position is at most {MAX_COLLECTIONS}")));
    }
    let mut changed = collection.clone();
    if let Some(text) = patch.title {
        changed.title = title(&text)?;
    }
    if let Some(text) = patch.description {
        changed.description = prose("the description", &text, MAX_DESCRIPTION_CHARS)?;
    }
    changed.private = patch.private.unwrap_or(changed.private);
    changed.theme = theme.unwrap_or(changed.theme);
    changed.place = patch.place.unwrap_or(changed.place);
    changed.updated_at = app.clock.now();
    transaction!(app.db, tx => { store::update(tx, &changed).await.map_err(ExchangeError::from) })?;
    Ok(changed)
}

/// Removes a collection; what was in it stays where it is.
///
/// # Errors
/// [`ExchangeError`].
pub async fn remove(app: &App, collection: &Collection) -> Result<(), ExchangeError> {
    transaction!(app.db, tx => { store::delete(tx, collection).await.map_err(ExchangeError::from) })
}

/// A page of the collections that `principal` may see; and where it goes on.
///
/// # Errors
/// [`ExchangeError`].
pub async fn list(
    app: &App,
    principal: Option<&Principal>,
    filter: &Filter,
    before: Option<&Cursor>,
    limit: usize,
) -> Result<(Vec<Collection>, Option<Cursor>), ExchangeError> {
    let spaces = principal.iter().flat_map(|p| {
        let organizations = p.memberships.iter().map(|m| &m.organization);
        std::iter::once(&p.account).chain(organizations).filter(|owner| reads(p, owner)).map(|owner| owner.id.clone())
    });
    let spaces: Vec<String> = spaces.collect();
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut found = store::page(&mut *app.db.read().await?, &spaces, filter, before, most).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|c| (filter.order.at(c), c.id.clone()));
    Ok((found, next))
}
