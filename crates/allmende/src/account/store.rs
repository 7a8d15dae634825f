//! Accounts and memberships in the database.

use allmende_core::id::{CollaborationId, PartyId};
use allmende_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Account, AccountError, AccountName, Kind, Membership, Role, new_id};
use crate::db::{DbError, Tx, is_unique_violation};

const COLUMNS: &str = "a.id, a.kind, a.name, a.full_name, a.party, a.private_default, a.created_at";

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

fn account(row: &AnyRow) -> Result<Account, DbError> {
    let (kind, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    let party: Option<String> = row.try_get(4)?;
    Ok(Account {
        id: row.try_get(0)?,
        kind: match kind.as_str() {
            "user" => Kind::User,
            "organization" => Kind::Organization,
            other => return Err(corrupt("accounts.kind", other)),
        },
        name: name.parse().map_err(|e| corrupt("accounts.name", e))?,
        full_name: row.try_get(3)?,
        party: party.map(|p| p.parse().map_err(|e| corrupt("accounts.party", e))).transpose()?,
        private_default: row.try_get::<i64, _>(5)? != 0,
        created_at: Timestamp(row.try_get(6)?),
    })
}

async fn one(connection: &mut AnyConnection, by: &str, value: &str) -> Result<Option<Account>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM accounts a WHERE a.{by} = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value).fetch_optional(connection).await?;
    row.as_ref().map(account).transpose()
}

/// The account of this id.
///
/// # Errors
/// [`DbError`].
pub async fn by_id(connection: &mut AnyConnection, id: &str) -> Result<Option<Account>, DbError> {
    one(connection, "id", id).await
}

/// The account of this name, in whatever case.
///
/// # Errors
/// [`DbError`].
pub async fn by_name(connection: &mut AnyConnection, name: &str) -> Result<Option<Account>, DbError> {
    one(connection, "name_key", &name.to_ascii_lowercase()).await
}

/// The organization of a party.
///
/// # Errors
/// [`DbError`].
pub async fn by_party(connection: &mut AnyConnection, party: &PartyId) -> Result<Option<Account>, DbError> {
    one(connection, "party", party.as_str()).await
}

/// All accounts by name, after the name `after`.
///
/// # Errors
/// [`DbError`].
pub async fn page(connection: &mut AnyConnection, after: &str, limit: i64) -> Result<Vec<Account>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM accounts a WHERE a.name_key > $1 ORDER BY a.name_key LIMIT $2");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after.to_ascii_lowercase()).bind(limit);
    query.fetch_all(connection).await?.iter().map(account).collect()
}

/// Creates an account.
///
/// # Errors
/// [`AccountError::Taken`].
pub async fn create(
    tx: &mut Tx,
    kind: Kind,
    name: &AccountName,
    full_name: &str,
    party: Option<&PartyId>,
    private_default: bool,
    now: Timestamp,
) -> Result<Account, AccountError> {
    let id = new_id()?;
    let inserted = sqlx::query(
        "INSERT INTO accounts (id, kind, name, name_key, full_name, party, private_default, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&id)
    .bind(kind.as_str())
    .bind(name.as_str())
    .bind(name.key())
    .bind(full_name)
    .bind(party.map(PartyId::as_str))
    .bind(i64::from(private_default))
    .bind(now.0)
    .execute(&mut **tx)
    .await;
    match inserted {
        Ok(_) => {}
        Err(error) if is_unique_violation(&error) => return Err(AccountError::Taken(name.clone())),
        Err(error) => return Err(error.into()),
    }
    Ok(Account {
        id,
        kind,
        name: name.clone(),
        full_name: full_name.to_owned(),
        party: party.cloned(),
        private_default,
        created_at: now,
    })
}

/// The organization under whose name the results of `collaboration` stand; made as `name` if there is none yet.
///
/// # Errors
/// [`AccountError::Taken`] when the name is another's.
pub async fn of_collaboration(
    tx: &mut Tx,
    collaboration: &CollaborationId,
    name: &AccountName,
    now: Timestamp,
) -> Result<Account, AccountError> {
    if let Some(standing) = one(tx, "collaboration", collaboration.as_str()).await? {
        return Ok(standing);
    }
    if by_name(tx, name.as_str()).await?.is_some() {
        return Err(AccountError::Taken(name.clone()));
    }
    let made = create(tx, Kind::Organization, name, collaboration.as_str(), None, true, now).await?;
    sqlx::query("UPDATE accounts SET collaboration = $2 WHERE id = $1")
        .bind(&made.id)
        .bind(collaboration.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(made)
}

/// Makes `member` belong to `organization` as `role`, or changes its role.
///
/// # Errors
/// [`AccountError::NotAMember`] unless a user joins an organization.
pub async fn set_member(tx: &mut Tx, organization: &Account, member: &Account, role: Role) -> Result<(), AccountError> {
    if organization.kind != Kind::Organization || member.kind != Kind::User {
        return Err(AccountError::NotAMember("users"));
    }
    sqlx::query(
        "INSERT INTO memberships (organization, member, role) VALUES ($1, $2, $3)
         ON CONFLICT (organization, member) DO UPDATE SET role = excluded.role",
    )
    .bind(&organization.id)
    .bind(&member.id)
    .bind(role.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends a membership. Says whether there was one.
///
/// # Errors
/// [`DbError`].
pub async fn remove_member(tx: &mut Tx, organization: &Account, member: &Account) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM memberships WHERE organization = $1 AND member = $2")
        .bind(&organization.id)
        .bind(&member.id)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

fn role(row: &AnyRow) -> Result<Role, DbError> {
    let text: String = row.try_get(7)?;
    Role::parse(&text).ok_or_else(|| corrupt("memberships.role", text))
}

/// The organizations that a user belongs to, by name.
///
/// # Errors
/// [`DbError`].
pub async fn memberships(connection: &mut AnyConnection, member: &Account) -> Result<Vec<Membership>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}, m.role FROM memberships m JOIN accounts a ON a.id = m.organization
         WHERE m.member = $1 ORDER BY a.name_key"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&member.id).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(Membership { organization: account(row)?, role: role(row)? })).collect()
}

/// The users of an organization with their roles, by name, after the name `after`.
///
/// # Errors
/// [`DbError`].
pub async fn members(
    connection: &mut AnyConnection,
    organization: &Account,
    after: &str,
    limit: i64,
) -> Result<Vec<(Account, Role)>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}, m.role FROM memberships m JOIN accounts a ON a.id = m.member
         WHERE m.organization = $1 AND a.name_key > $2 ORDER BY a.name_key LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&organization.id)
        .bind(after.to_ascii_lowercase())
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((account(row)?, role(row)?))).collect()
}
