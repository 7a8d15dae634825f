//! What the database says of histories is written anew from git, and nothing else is.

use allmende::app::App;
use allmende::repo::RepoError;
use allmende::repo::changes::Change;
use allmende::repo::reindex::{Place, Report, reindex};
use allmende::transaction;
use sqlx::Row as _;

use super::collected::{commit, large_file, put, reads};
use super::{World, noise};

/// The rows of a query, each as one line.
async fn rows(app: &App, sql: &'static str) -> Vec<String> {
    let rows = sqlx::query(sql).fetch_all(&mut *app.db.read().await.unwrap()).await.unwrap();
    rows.iter().map(|row| row.try_get(0).unwrap()).collect()
}

/// Everything of the index that git says too.
async fn index(app: &App) -> Vec<Vec<String>> {
    let repos = "SELECT id || ' ' || head || ' ' || CAST(modified_at AS TEXT) FROM repos ORDER BY id";
    let files = "SELECT repo || ' ' || sha256 || ' ' || CAST(size AS TEXT) || ' ' || COALESCE(xet, '-') || ' '
                 || CAST(held_at AS TEXT) || ' ' || COALESCE(CAST(loose_since AS TEXT), '-')
                 FROM repo_files ORDER BY repo, sha256";
    vec![rows(app, repos).await, rows(app, files).await]
}

async fn again(app: &App, dry_run: bool) -> Report {
    let place = Place { db: &app.db, git: &app.git, now: &|| app.clock.now(), dry_run };
    reindex(place, None, &|_| ()).await.unwrap()
}

#[tokio::test]
async fn a_damaged_index_is_written_anew_from_git() {
    let world = World::still().await;
    let app = &world.hub.app;
    let ada = world.person("ada").await;
    let (one, two) = (world.repo(&ada, &ada.account, "one").await, world.repo(&ada, &ada.account, "two").await);
    let mut kept = Vec::new();
    for (n, repo) in [&one, &one, &one, &two].into_iter().enumerate() {
        let sha256 = put(&world, repo, &noise(90_000, n as u64 + 1)).await;
        let card = format!("---\nlicense: mit\ntags: [t{n}]\n---\n");
        let readme = Change::Put { path: "README.md".parse().unwrap(), bytes: card.into_bytes() };
        commit(&world, &ada, repo, "main", vec![large_file(&format!("{n}.bin"), sha256), readme]).await.unwrap();
        kept.push(sha256);
    }
    // Sent and never committed: git does not know it, and it stays as it is.
    put(&world, &two, &noise(50_000, 77)).await;
    let whole = index(app).await;
    let report = again(app, false).await;
    assert_eq!((report.repositories, &report.wrong, &report.missing), (2, &vec![], &vec![]));
    assert_eq!(index(app).await, whole, "what is right stays as it is");

    let damage = [
        "UPDATE repos SET head = '{}', modified_at = 5 WHERE name = 'one'".to_owned(),
        "UPDATE repos SET head = '{\"sha\":\"0\"}' WHERE name = 'two'".to_owned(),
        format!("DELETE FROM repo_files WHERE sha256 = '{}'", kept[0].hex()),
        format!("UPDATE repo_files SET size = 1 WHERE sha256 = '{}'", kept[1].hex()),
        format!("UPDATE repo_files SET loose_since = 1 WHERE sha256 = '{}'", kept[2].hex()),
        // Deleted for good: its pointer stands in the history, and it does not come back.
        format!("DELETE FROM repo_files WHERE sha256 = '{}'", kept[3].hex()),
        format!("DELETE FROM xet_files WHERE sha256 = '{}'", kept[3].hex()),
    ];
    let damaged: Result<(), RepoError> = transaction!(app.db, tx => {
        for sql in &damage {
            sqlx::query(sqlx::AssertSqlSafe(sql.clone())).execute(&mut **tx).await?;
        }
        Ok(())
    });
    damaged.unwrap();
    let broken = index(app).await;
    let told = again(app, true).await;
    assert_eq!(index(app).await, broken, "a dry run writes nothing");
    let mut wrong: Vec<(&str, &str)> = told.wrong.iter().map(|f| (f.repository.as_str(), f.what)).collect();
    wrong.sort_unstable();
    let expected = ["file", "head", "loose", "modified", "size"].map(|what| ("ada/one", what));
    assert_eq!(wrong, [&expected[..], &[("ada/two", "head")]].concat());
    assert_eq!(told.missing.iter().map(|f| f.name.clone()).collect::<Vec<_>>(), [kept[3].hex()]);

    let place = Place { db: &app.db, git: &app.git, now: &|| app.clock.now(), dry_run: false };
    let only = reindex(place, Some((two.kind, "ada", "two")), &|_| ()).await.unwrap();
    assert_eq!((only.repositories, only.wrong.len()), (1, 1));
    assert!(matches!(reindex(place, Some((two.kind, "ada", "no")), &|_| ()).await, Err(RepoError::NotFound)));
    assert_eq!(again(app, false).await.wrong.len(), 5);
    let mut expected = whole;
    expected[1].retain(|row| !row.contains(&kept[3].hex()));
    assert_eq!(index(app).await, expected, "as it was, to the letter");
    assert_eq!(reads(&world, &one, &kept[0]).await.unwrap(), noise(90_000, 1));
    assert!(reads(&world, &two, &kept[3]).await.is_err());
    let report = again(app, true).await;
    assert_eq!((report.wrong.len(), report.missing.len()), (0, 1));
    world.hub.stop().await;
}
