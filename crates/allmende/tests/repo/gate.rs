//! A call of git that is stopped while it holds a lock, and goes on after somebody has taken the lock over.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use allmende::git::refs::Change;
use allmende::git::{Git, GitError, GitRepo, Oid};

const MAIN: &str = "refs/heads/main";

/// A call that has locked a ref and waits.
struct Call(Child);

impl Call {
    /// Locks `name` for a change, by the path that the hub's own calls take at this moment.
    fn locks(git: &GitRepo, Change { name, old, new }: &Change) -> Self {
        let gates = git.dir().join("gates");
        let names = std::fs::read_dir(&gates).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let open: Vec<String> = names.filter_map(|name| Some(name.strip_prefix("open.")?.to_owned())).collect();
        assert_eq!(open.len(), 1, "one gate is open: {open:?}");
        let gate = gates.join(&open[0]);
        let mut child = Command::new("git")
            .args(["--git-dir".as_ref(), gate.as_os_str()])
            .args(["-c", "core.filesRefLockTimeout=0", "update-ref", "--stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "start\nupdate {name} {new} {old}\nprepare").unwrap();
        let said = BufReader::new(child.stdout.as_mut().unwrap());
        let said: Vec<String> = said.lines().take(2).map(Result::unwrap).collect();
        assert_eq!(said, ["start: ok", "prepare: ok"]);
        Self(child)
    }

    /// Goes on: whether it says that it moved the ref.
    fn goes_on(mut self) -> bool {
        // It may have died of it.
        let _ = writeln!(self.0.stdin.take().unwrap(), "commit");
        self.0.wait().unwrap().success()
    }
}

fn ages(lock: &Path) {
    let file = File::options().write(true).open(lock).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

/// A repository whose main leads to the first of some commits.
async fn repository(dir: &Path) -> (GitRepo, Vec<Oid>) {
    let git = Git::open(dir).await.unwrap().repo("0123456789abcdef01234567");
    git.create().await.unwrap();
    let tree: Oid = String::from_utf8(git.run(["mktree"], &[]).await.unwrap()).unwrap().trim().parse().unwrap();
    let author = allmende::git::commit::Author { name: "a".to_owned(), email: "a@b".to_owned() };
    let mut commits = Vec::new();
    for n in 0..8 {
        let now = allmende_core::time::Timestamp(n * 1_000);
        let parents: Vec<Oid> = commits.first().copied().into_iter().collect();
        commits.push(git.commit_tree(tree, &parents, &author, &n.to_string(), now).await.unwrap());
    }
    git.change_refs(&[main(Oid::ZERO, commits[0])]).await.unwrap();
    (git, commits)
}

fn main(old: Oid, new: Oid) -> Change {
    Change { name: MAIN.to_owned(), old, new }
}

#[tokio::test]
async fn a_call_that_was_taken_over_moves_nothing_however_late_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (git, c) = repository(dir.path()).await;
    let lock = git.dir().join(format!("{MAIN}.lock"));
    let late = Call::locks(&git, &main(c[0], c[1]));
    let young = git.change_refs(&[main(c[0], c[2])]).await;
    assert!(matches!(young, Err(GitError::Moved(_))), "a lock that is not old is respected: {young:?}");
    ages(&lock);
    git.change_refs(&[main(c[0], c[2])]).await.unwrap();
    assert!(!late.goes_on(), "it says what is so");
    assert_eq!(git.resolve("main").await.unwrap(), c[2]);

    // The worst instant: another has a lock of the same name when it goes on, and has written nothing it may stand for yet.
    let late = Call::locks(&git, &main(c[2], c[3]));
    ages(&lock);
    git.change_refs(&[main(c[2], c[4])]).await.unwrap();
    let other = Call::locks(&git, &main(c[4], c[5]));
    assert!(!late.goes_on());
    assert_eq!(git.resolve("main").await.unwrap(), c[4], "another's lock is not made the ref");
    assert!(other.goes_on());
    assert_eq!(git.resolve("main").await.unwrap(), c[5]);
    assert!(!lock.exists());
    git.run(["fsck", "--strict", "--full"], &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_who_take_a_lock_over_one_moves_the_ref() {
    let dir = tempfile::tempdir().unwrap();
    let (git, c) = repository(dir.path()).await;
    for round in 0..6 {
        let from = git.resolve("main").await.unwrap();
        let late = Call::locks(&git, &main(from, c[7]));
        ages(&git.dir().join(format!("{MAIN}.lock")));
        // Each as a process of its own has it.
        let attempts = c[1..7].iter().filter(|to| **to != from).map(|to| {
            let (root, to) = (dir.path().to_owned(), *to);
            tokio::spawn(async move {
                let git = Git::open(&root).await.unwrap().repo("0123456789abcdef01234567");
                (to, git.change_refs(&[main(from, to)]).await)
            })
        });
        let attempts: Vec<_> = attempts.collect();
        let mut moved = Vec::new();
        for attempt in attempts {
            match attempt.await.unwrap() {
                (to, Ok(())) => moved.push(to),
                (_, Err(GitError::Moved(_))) => {}
                (_, Err(other)) => panic!("{other:?}"),
            }
        }
        assert!(!late.goes_on());
        // All may have lost to each other; never do two win.
        assert!(moved.len() <= 1, "round {round}: {moved:?}");
        assert_eq!(git.resolve("main").await.unwrap(), moved.first().copied().unwrap_or(from), "round {round}");
    }
}
