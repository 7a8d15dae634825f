//! The stores, each test on SQLite and on a real PostgreSQL server.

use allmende::db::{Db, DbOptions};
use allmende_core::time::Timestamp;

mod backup;
mod blobs;
mod crash;
mod invitations;
mod ledger;
mod migrations;
pub mod postgres;
pub mod remote;
pub mod s3;
pub mod tokens;
mod writes;

/// A moment for tests.
pub const NOW: Timestamp = Timestamp(1_796_083_200_000);

/// A database of its own, gone when dropped.
pub struct Store {
    pub options: DbOptions,
    /// Where the bytes of its hub lie, if in S3.
    pub place: Option<String>,
    _dir: Option<tempfile::TempDir>,
}

impl Store {
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/hub.db", dir.path().display());
        Self { options: options(url), place: None, _dir: Some(dir) }
    }

    pub async fn postgres() -> Self {
        Self { options: options(postgres::fresh_database().await), place: None, _dir: None }
    }

    /// The same with its bytes in S3.
    pub fn with_bytes_in_s3(self) -> Self {
        Self { place: Some(s3::fresh_place()), ..self }
    }

    pub async fn open(&self) -> Db {
        Db::open(&self.options, NOW).await.unwrap()
    }
}

fn options(url: String) -> DbOptions {
    DbOptions { url, connections: 4, busy_timeout_ms: 5000 }
}

/// Makes a test on each backend of every `async fn name(store: Store) { … }`.
#[macro_export]
macro_rules! on_both {
    ($(async fn $name:ident($store:ident) $body:block)+) => {
        mod sqlite {
            #[allow(unused_imports)]
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::stores::Store::sqlite()).await
            })+
        }
        mod postgres {
            #[allow(unused_imports)]
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::stores::Store::postgres().await).await
            })+
        }
        $(async fn $name($store: $crate::stores::Store) $body)+
    };
}
