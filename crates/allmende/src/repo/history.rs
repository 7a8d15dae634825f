//! What histories occupy: the objects of git, which count against the same quota as the large files beside them.
//!
//! What comes in is added before it is kept, so that no crash leaves more than was counted. What the hub writes itself
//! (merges, squashed histories, first commits), and how git packs what came, is known by measuring, which collecting does
//! once a day. Until then a commit through the API counts with the bytes of its files, before git packs them.

use super::{Repo, RepoError, large, quota};
use crate::app::App;
use crate::db::{Db, DbError, Tx, to_i64};
use crate::git::GitRepo;
use crate::transaction;

/// Bytes of a push or a commit that are taken also where there is no room left, so that a card can be mended and a file be
/// deleted. They count like all others.
pub const SMALL_BYTES: u64 = 64 << 10;

/// Counts `more_bytes` that are about to be kept. For a repository that is only being made room is asked for, and nothing is
/// counted: it is [measured](measure) once it is there.
///
/// # Errors
/// [`RepoError::Quota`] when there is no room for them; then nothing is counted.
pub async fn charge(app: &App, repo: &Repo, more_bytes: u64) -> Result<(), RepoError> {
    let default = app.config.default_quota_bytes;
    transaction!(app.db, tx => {
        let domain = large::domain(tx, repo).await?;
        if more_bytes > SMALL_BYTES {
            quota::require(tx, &domain, more_bytes, default).await?;
        }
        sqlx::query(
            "INSERT INTO repo_histories (repo, domain, bytes) SELECT id, $2, $3 FROM repos WHERE id = $1
             ON CONFLICT (repo) DO UPDATE SET domain = excluded.domain, bytes = repo_histories.bytes + excluded.bytes",
        )
        .bind(&repo.id)
        .bind(&domain)
        .bind(to_i64(more_bytes)?)
        .execute(&mut **tx)
        .await
        .map_err(DbError::from)?;
        Ok(())
    })
}

/// Counts what lies there now.
///
/// # Errors
/// [`RepoError`].
pub async fn measure(db: &Db, repo: &Repo, git: &GitRepo) -> Result<(), RepoError> {
    let bytes = to_i64(git.size_bytes().await?)?;
    let (mut connection, sql) = (db.read().await?, "SELECT domain, bytes FROM repo_histories WHERE repo = $1");
    let known: Option<(String, i64)> =
        sqlx::query_as(sql).bind(&repo.id).fetch_optional(&mut *connection).await.map_err(DbError::from)?;
    // Mostly nothing changed since the day before.
    if known == Some((large::domain(&mut connection, repo).await?, bytes)) {
        return Ok(());
    }
    drop(connection);
    transaction!(db, tx => { set(tx, repo, bytes).await.map_err(RepoError::from) })
}

async fn set(tx: &mut Tx, repo: &Repo, bytes: i64) -> Result<(), DbError> {
    let domain = large::domain(tx, repo).await?;
    // Not for a repository that was deleted while it was measured.
    sqlx::query(
        "INSERT INTO repo_histories (repo, domain, bytes) SELECT id, $2, $3 FROM repos WHERE id = $1
         ON CONFLICT (repo) DO UPDATE SET domain = excluded.domain, bytes = excluded.bytes",
    )
    .bind(&repo.id)
    .bind(domain)
    .bind(bytes)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
