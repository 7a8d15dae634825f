//! The rows of accounts and of all that belongs to repositories, as lines of JSON: what no log says, and nothing that can
//! be made again or that must not come back.
//!
//! Each line is the list of a row's values in the order of the columns here: texts, whole numbers, bytes as
//! `{"base64": …}`, or null.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use crate::db::{DbError, Tx, to_u64};

/// Bytes of lines that are written as one member of the archive, unless a single line is longer.
const BATCH_BYTES: usize = 4 << 20;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    Number,
    Bytes,
}

/// A table that is backed up.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    columns: &'static [(&'static str, Holds)],
}

/// `table: text columns; number columns; byte columns`.
macro_rules! tables {
    ($($name:ident: [$($text:ident)*] [$($number:ident)*] [$($bytes:ident)*];)+) => {
        /// All that are backed up.
        pub const TABLES: &[Table] = &[$(Table {
            name: stringify!($name),
            columns: &[
                $((stringify!($text), Holds::Text),)*
                $((stringify!($number), Holds::Number),)*
                $((stringify!($bytes), Holds::Bytes),)*
            ],
        },)+];
    };
}

tables! {
    accounts: [id kind name name_key full_name party collaboration] [private_default created_at] [];
    memberships: [organization member role] [] [];
    account_quotas: [account] [bytes] [];
    repos: [id kind owner name name_key creator gated collaboration settings head]
        [private disabled created_at modified_at downloads likes] [];
    repo_moves: [repo kind owner_key name_key] [] [];
    repo_files: [repo sha256 xet] [size held_at loose_since] [];
    repo_reads: [collaboration repository party] [period requests bytes] [];
    repo_domains: [repo domain] [] [];
    repo_histories: [repo domain] [bytes] [];
    xorbs: [domain hash object] [size stored_at loose_since] [chunks];
    repo_xorbs: [repo xorb] [] [];
    xet_files: [repo hash sha256] [size] [segments];
    xet_chunks: [domain xorb chunk] [] [];
    bucket_files: [repo xet content_type] [size mtime uploaded_at] [path];
    discussions: [repo author title status base merge_commit] [num pull_request created_at] [];
    discussion_events: [repo id author kind data] [num place created_at] [];
    likes: [repo account] [liked_at] [];
    collections: [id owner creator title title_key description theme] [private place created_at updated_at] [];
    collection_items: [id collection kind target note] [place] [];
    access_requests: [repo id account status reason fields] [asked_at changed_at] [];
    webhooks: [id owner url job domains] [disabled created_at updated_at] [secret];
    webhook_watches: [webhook kind name watched] [] [];
    mirrors: [repo url tls_pin source source_id signer error rewritten]
        [every_s next_at busy_until failures made_at synced_at fetched_bytes stored_bytes lacking] [token];
}

/// The tables that are not: logs and what follows from them come back from the logs' own entries; tokens, invitations and
/// deliveries must not come back; the rest is work under way.
pub const LEFT_OUT: &[&str] = &[
    "account_tokens",
    "blob_refs",
    "content_facts",
    "cosignatures",
    "device_codes",
    "device_misses",
    "idempotency",
    "invitation_uses",
    "invitations",
    "log_entries",
    "log_heads",
    "log_nodes",
    "log_restore_reports",
    "log_restores",
    "nonces",
    "p_collaborations",
    "p_key_statements",
    "p_members",
    "p_party_keys",
    "ref_moves",
    "repo_events",
    "restores",
    "schema_migrations",
    "tokens",
    "upload_parts",
    "uploads",
    "webhook_deliveries",
];

impl Table {
    /// The table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// The names of its columns.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|(name, _)| *name)
    }

    fn names(&self) -> String {
        self.columns().collect::<Vec<_>>().join(", ")
    }

    /// The text in the column of this name, if the table has one and the row a text in it.
    #[must_use]
    pub fn text<'a>(&self, row: &'a [Value], name: &str) -> Option<&'a str> {
        let at = self.columns.iter().position(|(own, _)| *own == name)?;
        row.get(at)?.as_str()
    }

    fn read(&self, row: &AnyRow) -> Result<Vec<Value>, DbError> {
        let value = |(at, (_, holds)): (usize, &(&str, Holds))| {
            Ok(match holds {
                Holds::Text => row.try_get::<Option<String>, _>(at)?.into(),
                Holds::Number => row.try_get::<Option<i64>, _>(at)?.into(),
                Holds::Bytes => match row.try_get::<Option<Vec<u8>>, _>(at)? {
                    Some(bytes) => json!({ "base64": STANDARD.encode(bytes) }),
                    None => Value::Null,
                },
            })
        };
        self.columns.iter().enumerate().map(value).collect()
    }

    /// Reads all rows that `wanted` says yes to, and gives their lines in batches.
    ///
    /// # Errors
    /// [`DbError`], or what `batch` fails with.
    pub async fn dump<E: From<DbError>>(
        &self,
        connection: &mut AnyConnection,
        mut wanted: impl FnMut(&[Value]) -> bool,
        mut batch: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!("SELECT {} FROM {}", self.names(), self.name);
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(connection);
        let mut lines = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(DbError::from)? {
            let row = self.read(&row)?;
            if wanted(&row) {
                // Values are always written.
                lines.extend_from_slice(Value::Array(row).to_string().as_bytes());
                lines.push(b'\n');
            }
            if lines.len() >= BATCH_BYTES {
                batch(&lines)?;
                lines.clear();
            }
        }
        if lines.is_empty() { Ok(()) } else { batch(&lines) }
    }

    /// Puts rows back. Those that are there already stay as they are.
    ///
    /// # Errors
    /// [`DbError::Corrupt`] when the lines are not this table's.
    pub async fn fill(&self, tx: &mut Tx, lines: &[u8]) -> Result<u64, DbError> {
        let wrong = || DbError::Corrupt { column: self.name, message: "a line is no row of this table".to_owned() };
        let places: Vec<String> = (1..=self.columns.len()).map(|n| format!("${n}")).collect();
        let places = places.join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({places}) ON CONFLICT DO NOTHING", self.name, self.names());
        let mut count = 0;
        for line in lines.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
            let row: Vec<Value> = serde_json::from_slice(line).map_err(|_| wrong())?;
            if row.len() != self.columns.len() {
                return Err(wrong());
            }
            let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
            for ((_, holds), value) in self.columns.iter().zip(row) {
                query = match (holds, value) {
                    (Holds::Text, Value::Null) => query.bind(None::<String>),
                    (Holds::Number, Value::Null) => query.bind(None::<i64>),
                    (Holds::Bytes, Value::Null) => query.bind(None::<Vec<u8>>),
                    (Holds::Text, Value::String(text)) => query.bind(text),
                    (Holds::Number, Value::Number(number)) => query.bind(number.as_i64().ok_or_else(wrong)?),
                    (Holds::Bytes, Value::Object(map)) => {
                        let text = map.get("base64").and_then(Value::as_str).ok_or_else(wrong)?;
                        query.bind(STANDARD.decode(text).map_err(|_| wrong())?)
                    }
                    _ => return Err(wrong()),
                };
            }
            query.execute(&mut **tx).await?;
            count += 1;
        }
        Ok(count)
    }
}

/// How many accounts there are.
///
/// # Errors
/// [`DbError`].
pub async fn accounts(connection: &mut AnyConnection) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM accounts").fetch_one(connection).await?)
}

/// How many xorbs there are.
///
/// # Errors
/// [`DbError`].
pub async fn xorbs(connection: &mut AnyConnection) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM xorbs").fetch_one(connection).await?)
}

/// The bytes of all xorbs.
///
/// # Errors
/// [`DbError`].
pub async fn xorb_bytes(connection: &mut AnyConnection) -> Result<u64, DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM xorbs";
    to_u64("xorbs.size", sqlx::query_scalar(sql).fetch_one(connection).await?)
}
