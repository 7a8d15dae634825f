//! Bare repositories by the git program.

use allmende::git::commit::{Author, Builder};
use allmende::git::objects::Pointer;
use allmende::git::refs::Change;
use allmende::git::tree::{Entry, EntryKind};
use allmende::git::{Git, GitError, GitRepo, Oid, RepoPath};
use allmende_core::time::Timestamp;

const NOW: Timestamp = Timestamp(1_796_083_200_000);

async fn empty() -> (tempfile::TempDir, GitRepo) {
    let dir = tempfile::tempdir().unwrap();
    let repo = Git::open(dir.path()).await.unwrap().repo("0123456789abcdef01234567");
    repo.create().await.unwrap();
    (dir, repo)
}

fn author() -> Author {
    Author { name: "Ada <x>\n".into(), email: "ada@example.org".into() }
}

fn path(text: &str) -> RepoPath {
    text.parse().unwrap()
}

async fn commit(repo: &GitRepo, parents: &[Oid], message: &str, files: &[(&str, &[u8])]) -> Oid {
    let mut builder = Builder::start(repo, parents, &author(), message, NOW).await.unwrap();
    for (name, bytes) in files {
        builder.put(&path(name), bytes).await.unwrap();
    }
    builder.finish().await.unwrap()
}

fn change(name: &str, old: Oid, new: Oid) -> Change {
    Change { name: name.into(), old, new }
}

#[tokio::test]
async fn a_commit_is_seen_once_its_ref_moves() {
    let (_dir, repo) = empty().await;
    let files: &[(&str, &[u8])] =
        &[("README.md", b"# hi\n"), ("a \"b\"/c\u{e9}.txt", b"\0\x01binary"), ("a \"b\"/d", b"")];
    let first = commit(&repo, &[], "First\n\nwith a body", files).await;
    assert!(matches!(repo.resolve("main").await, Err(GitError::NoRevision(_))));
    assert_eq!(repo.refs("refs/").await.unwrap(), [], "nothing is left of the stream's own ref");
    repo.change_refs(&[change("refs/heads/main", Oid::ZERO, first)]).await.unwrap();
    for revision in ["main", "refs/heads/main", &first.to_string(), &first.to_string()[..7]] {
        assert_eq!(repo.resolve(revision).await.unwrap(), first, "{revision}");
    }
    for revision in ["main~0", "main^{tree}", "main:README.md", "--all", "@{-1}", "nothing", "0123456"] {
        assert!(matches!(repo.resolve(revision).await, Err(GitError::NoRevision(_))), "{revision}");
    }
    let all = repo.tree(first, None, true).await.unwrap();
    let names: Vec<_> = all.iter().map(|e| (e.path.as_str(), e.kind, e.size)).collect();
    assert_eq!(
        names,
        [
            ("README.md", EntryKind::File, 5),
            ("a \"b\"", EntryKind::Folder, 0),
            ("a \"b\"/c\u{e9}.txt", EntryKind::File, 8),
            ("a \"b\"/d", EntryKind::File, 0)
        ]
    );
    let below = repo.tree(first, Some(&path("a \"b\"")), false).await.unwrap();
    assert_eq!(below, all[2..]);
    assert!(matches!(repo.tree(first, Some(&path("nowhere")), false).await, Err(GitError::NoEntry(_))));
    assert!(matches!(repo.tree(first, Some(&path("README.md")), false).await, Err(GitError::NoEntry(_))));
    assert_eq!(repo.blob(all[2].oid).await.unwrap(), b"\0\x01binary");
    let history = repo.history(first, 0, 10).await.unwrap();
    assert_eq!((history[0].title.as_str(), history[0].message.as_str()), ("First", "with a body"));
    assert_eq!((history[0].author.as_str(), history[0].at_s), ("Ada x", NOW.0 / 1_000));
}

#[tokio::test]
async fn entries_are_found_one_by_one() {
    let (_dir, repo) = empty().await;
    let head = commit(&repo, &[], "x", &[("a/b/c.txt", b"1"), ("a/b.txt", b"2"), ("a*", b"3")]).await;
    let asked: Vec<RepoPath> = ["a/b/c.txt", "a", "a*", "a/nothing", "nothing"].map(path).into();
    let mut found: Vec<_> = repo.entries(head, &asked).await.unwrap().into_iter().map(|e| e.path).collect();
    found.sort();
    assert_eq!(found, ["a", "a*", "a/b/c.txt"]);
    assert!(matches!(repo.entry(head, &path("a/b/d")).await, Err(GitError::NoEntry(_))));
}

#[tokio::test]
async fn changes_build_on_their_parent() {
    let (_dir, repo) = empty().await;
    let first = commit(&repo, &[], "1", &[("keep", b"k"), ("dir/x", b"x"), ("dir/y", b"y"), ("old", b"o")]).await;
    let old = repo.entry(first, &path("old")).await.unwrap();
    let mut builder = Builder::start(&repo, &[first], &author(), "2", NOW).await.unwrap();
    builder.delete(&path("dir")).await.unwrap();
    builder.link(&path("copy"), old.oid).await.unwrap();
    builder.put(&path("old"), b"new").await.unwrap();
    let second = builder.finish().await.unwrap();
    let names: Vec<_> = repo.tree(second, None, true).await.unwrap().into_iter().map(|e| e.path).collect();
    assert_eq!(names, ["copy", "keep", "old"]);
    assert_eq!(repo.count(second).await.unwrap(), 2);
    assert_eq!(repo.last_change(second, "keep").await.unwrap().unwrap().oid, first);
    assert_eq!(repo.last_change(second, "old").await.unwrap().unwrap().oid, second);
    assert_eq!(repo.history(second, 1, 5).await.unwrap().len(), 1);
}

#[tokio::test]
async fn only_one_of_two_commits_upon_the_same_parent_wins() {
    let (_dir, repo) = empty().await;
    let base = commit(&repo, &[], "0", &[("f", b"0")]).await;
    repo.change_refs(&[change("refs/heads/main", Oid::ZERO, base)]).await.unwrap();
    let (one, two) =
        (commit(&repo, &[base], "1", &[("f", b"1")]).await, commit(&repo, &[base], "2", &[("f", b"2")]).await);
    repo.change_refs(&[change("refs/heads/main", base, one)]).await.unwrap();
    let late = repo.change_refs(&[change("refs/heads/main", base, two)]).await;
    assert!(matches!(late, Err(GitError::Moved(_))), "{late:?}");
    // All or none.
    let both = [change("refs/heads/other", Oid::ZERO, two), change("refs/heads/main", base, two)];
    assert!(matches!(repo.change_refs(&both).await, Err(GitError::Moved(_))));
    assert!(repo.resolve("other").await.is_err());
    let bad = repo.change_refs(&[change("refs/heads/../x", Oid::ZERO, two)]).await;
    assert!(matches!(bad, Err(GitError::BadRef(_))));
}

#[tokio::test]
async fn tags_with_and_without_a_message() {
    let (_dir, repo) = empty().await;
    let head = commit(&repo, &[], "x", &[("f", b"0")]).await;
    let plain = repo.tag("v1", head, None, "").await.unwrap();
    let spoken = repo.tag("v2", head, Some("second"), &author().line(NOW)).await.unwrap();
    assert!(plain == head && spoken != head);
    let tags = [change("refs/tags/v1", Oid::ZERO, plain), change("refs/tags/v2", Oid::ZERO, spoken)];
    repo.change_refs(&tags).await.unwrap();
    assert!(matches!(repo.change_refs(&tags[..1]).await, Err(GitError::Moved(_))));
    assert!(matches!(repo.tag("../v3", head, None, "").await, Err(GitError::BadRef(_))));
    let tags = repo.refs("refs/tags").await.unwrap();
    assert_eq!(
        tags.iter().map(|t| (t.name.as_str(), t.commit)).collect::<Vec<_>>(),
        [("refs/tags/v1", head), ("refs/tags/v2", head)]
    );
    assert_eq!(repo.resolve("v2").await.unwrap(), head);
}

#[tokio::test]
async fn pointers_stand_for_large_files() {
    let (_dir, repo) = empty().await;
    let pointer = Pointer { sha256: "0a".repeat(32), size: 1 << 40 };
    let files: &[(&str, &[u8])] = &[("big.bin", &pointer.to_bytes()), ("like.txt", &[b'x'; 140]), ("small", b"s")];
    let head = commit(&repo, &[], "x", files).await;
    let mut entries = repo.tree(head, None, false).await.unwrap();
    repo.pointers(&mut entries).await.unwrap();
    let sizes: Vec<_> = entries.iter().map(Entry::file_size).collect();
    assert_eq!(sizes, [1 << 40, 140, 1]);
    assert_eq!(entries[0].pointer, Some(pointer));
}

#[tokio::test]
async fn many_files_in_one_commit() {
    let (_dir, repo) = empty().await;
    let mut builder = Builder::start(&repo, &[], &author(), "many", NOW).await.unwrap();
    for i in 0..2_000 {
        builder.put(&path(&format!("dir-{}/file-{i}.txt", i % 20)), format!("content {i}").as_bytes()).await.unwrap();
    }
    let head = builder.finish().await.unwrap();
    assert_eq!(repo.tree(head, None, true).await.unwrap().len(), 2_020);
}

#[tokio::test]
async fn what_is_given_up_leaves_nothing() {
    let (_dir, repo) = empty().await;
    let mut builder = Builder::start(&repo, &[], &author(), "never", NOW).await.unwrap();
    builder.put(&path("f"), b"x").await.unwrap();
    drop(builder);
    assert_eq!(repo.refs("refs/").await.unwrap(), []);
    let missing: Oid = "00000000000000000000000000000000000000ff".parse().unwrap();
    let upon = Builder::start(&repo, &[missing], &author(), "x", NOW).await.unwrap().finish().await;
    assert!(matches!(upon, Err(GitError::Failed { .. })), "{upon:?}");
}

#[tokio::test]
async fn a_lock_that_a_dead_call_left_does_not_hold_for_ever() {
    let (_dir, repo) = empty().await;
    let first = commit(&repo, &[], "First", &[("a", b"1")]).await;
    let lock = repo.dir().join("refs/heads/main.lock");
    let main = [change("refs/heads/main", Oid::ZERO, first)];
    let file = std::fs::File::create(&lock).unwrap();
    assert!(matches!(repo.change_refs(&main).await, Err(GitError::Moved(_))), "somebody may be at work");
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(120)).unwrap();
    repo.change_refs(&main).await.unwrap();
    assert!(!lock.exists());
    assert_eq!(repo.resolve("main").await.unwrap(), first);
}
