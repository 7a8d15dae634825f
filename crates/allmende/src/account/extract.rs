//! Who makes a request to the surfaces that people's tools speak.

use allmende_core::id::PartyId;
use allmende_core::time::Timestamp;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::token::{TokenInfo, authenticate, by_id, note_use};
use super::{Account, AccountName, Kind, Membership, Role, store};
use crate::app::App;
use crate::auth::{self, Caller, Scope};
use crate::db::DbError;
use crate::error::{ApiError, Code};
use crate::transaction;

/// How the tokens of parties begin; all others are accounts'.
pub const PARTY: &str = "alm_";

/// An account that was recognized by its token.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Who.
    pub account: Account,
    /// The organizations that it belongs to.
    pub memberships: Vec<Membership>,
    /// The token.
    pub token: TokenInfo,
}

impl Principal {
    /// Whom the token of this id speaks for now, if it still works. The id must come from something that this hub signed.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn of_token_id(app: &App, id: &str) -> Result<Option<Self>, ApiError> {
        let now = app.clock.now();
        let mut connection = app.db.read().await?;
        if let Some((account, token)) = by_id(&mut connection, id, now).await? {
            let memberships = store::memberships(&mut connection, &account).await?;
            return Ok(Some(Self { account, memberships, token }));
        }
        let caller = auth::by_id(&mut connection, id, now).await?;
        drop(connection);
        match caller {
            Some(caller) => of_caller(app, caller, now).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whom a token speaks for, for pages that only show: its use is not noted.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] when it is unknown, [`Code::MissingScope`] when it may not read.
    pub async fn of_secret(app: &App, secret: &str) -> Result<Self, ApiError> {
        Ok(recognize(app, secret, app.clock.now()).await?.0)
    }

    /// As [`Self::of_token_id`], if it is still the account of this id that the token speaks for.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn again(app: &App, account: &str, token: &str) -> Result<Option<Self>, ApiError> {
        Ok(Self::of_token_id(app, token).await?.filter(|principal| principal.account.id == account))
    }

    /// The parties that it acts for with at least `role`: the one that it is, and those whose organization it belongs to.
    pub fn parties(&self, role: Role) -> impl Iterator<Item = &PartyId> {
        let belongs = self.memberships.iter().filter(move |m| m.role >= role);
        self.account.party.iter().chain(belongs.filter_map(|m| m.organization.party.as_ref()))
    }

    /// The principal's role in `account`: its own, or one that it belongs to.
    #[must_use]
    pub fn role_in(&self, account: &str) -> Option<Role> {
        if self.account.id == account {
            return Some(Role::Admin);
        }
        self.memberships.iter().find(|m| m.organization.id == account).map(|m| m.role)
    }
}

/// The secret of a bearer token, or of a password as git sends it.
fn secret(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refuse = || ApiError::new(Code::Unauthenticated, "Invalid credentials in Authorization header");
    let (scheme, rest) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(refuse)?;
    if values.next().is_some() {
        return Err(refuse());
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refuse());
    }
    let pair = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(refuse)?;
    let (user, password) = pair.split_once(':').ok_or_else(refuse)?;
    // Tools that know only one field put the token into the user's name.
    Ok(Some(if password.is_empty() { user } else { password }.to_owned()))
}

async fn principal(parts: &Parts, app: &App) -> Result<Option<Principal>, ApiError> {
    let Some(secret) = secret(&parts.headers)? else { return Ok(None) };
    let now = app.clock.now();
    let (principal, stale) = recognize(app, &secret, now).await?;
    if stale {
        let noted: Result<(), DbError> = transaction!(app.db, tx => { note_use(tx, &principal.token.id, now).await });
        if let Err(error) = noted {
            // A full disk must not keep readers out.
            tracing::warn!(%error, "last use of a token not noted");
        }
    }
    Ok(Some(principal))
}

/// Whom a token speaks for, and whether its last use should be noted again.
async fn recognize(app: &App, secret: &str, now: Timestamp) -> Result<(Principal, bool), ApiError> {
    if secret.starts_with(PARTY) {
        return Ok((of_party(app, secret, now).await?, false));
    }
    let mut connection = app.db.read().await?;
    let found = authenticate(&mut connection, secret, now).await?;
    let Some((account, token, stale)) = found else { return Err(unknown()) };
    let memberships = store::memberships(&mut connection, &account).await?;
    Ok((Principal { account, memberships, token }, stale))
}

fn unknown() -> ApiError {
    ApiError::new(Code::Unauthenticated, "Invalid credentials in Authorization header")
        .hint("the token is unknown, expired or revoked")
}

fn of_scopes(caller: &Caller, now: Timestamp) -> TokenInfo {
    let rights = if caller.scopes.allows(Scope::Write) { super::Rights::Write } else { super::Rights::Read };
    TokenInfo { id: caller.token_id.clone(), label: String::new(), rights, created_at: now, expires_at: None }
}

/// A party's token acts for the organization that the party is, which comes into being with its first use.
async fn of_party(app: &App, secret: &str, now: Timestamp) -> Result<Principal, ApiError> {
    let found = auth::authenticate(&mut *app.db.read().await?, secret, now).await?;
    let Some((caller, _)) = found else { return Err(unknown()) };
    of_caller(app, caller, now).await
}

async fn of_caller(app: &App, caller: Caller, now: Timestamp) -> Result<Principal, ApiError> {
    caller.require(Scope::Read)?;
    let token = of_scopes(&caller, now);
    let standing = store::by_party(&mut *app.db.read().await?, &caller.party).await?;
    let account = match standing {
        Some(account) => account,
        None => {
            let name: AccountName = caller.party.as_str().parse().map_err(|e| {
                ApiError::new(Code::Unprocessable, format!("the party's name is no name of an organization: {e}"))
            })?;
            transaction!(app.db, tx => {
                match store::by_party(tx, &caller.party).await? {
                    Some(account) => Ok(account),
                    None => {
                        let party = Some(&caller.party);
                        store::create(tx, Kind::Organization, &name, name.as_str(), party, true, now).await
                    }
                }
            })?
        }
    };
    Ok(Principal { account, memberships: Vec::new(), token })
}

impl FromRequestParts<App> for Principal {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let refuse = || ApiError::new(Code::Unauthenticated, "Invalid username or password.");
        principal(parts, app).await?.ok_or_else(refuse)
    }
}

impl OptionalFromRequestParts<App> for Principal {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, ApiError> {
        principal(parts, app).await
    }
}
