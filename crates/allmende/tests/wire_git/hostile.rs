//! What nobody may push. Each attempt is made with git's own tools, and nothing of it is ever seen.

use allmende::account::Rights;
use allmende::repo::{Kind, Repo};

use super::{Desk, Someone, address, noise};
use crate::http::Hub;

struct Stage {
    hub: Hub,
    desk: Desk,
    repo: Repo,
}

impl Stage {
    async fn set() -> Self {
        let hub = Hub::start(&[("max_push_bytes", "30000000")]).await;
        let mallory = Someone::new(&hub.app, "mallory", Rights::Write).await;
        let repo = mallory.creates(&hub.app, Kind::Model, "trap", true).await;
        let desk = Desk::new();
        desk.clones(&address(&hub, &mallory, "mallory/trap"), "trap").await.fine();
        for setting in [["core.protectHFS", "false"], ["core.protectNTFS", "false"], ["transfer.fsckObjects", "false"]]
        {
            desk.git("trap", &["config", setting[0], setting[1]]).await.fine();
        }
        Self { hub, desk, repo }
    }

    /// The id of a blob of these bytes.
    async fn blob(&self, bytes: &[u8]) -> String {
        self.desk.fed("trap", &["hash-object", "-w", "--stdin"], bytes).await.fine()
    }

    /// The id of a tree of these entries: mode, type, id, name.
    async fn tree(&self, entries: &[(&str, &str, &str, &str)]) -> String {
        let lines: String =
            entries.iter().map(|(mode, kind, oid, name)| format!("{mode} {kind} {oid}\t{name}\0")).collect();
        self.desk.fed("trap", &["mktree", "-z"], lines.as_bytes()).await.fine()
    }

    async fn commit(&self, tree: &str) -> String {
        self.desk.git("trap", &["commit-tree", tree, "-p", "HEAD", "-m", "trap"]).await.fine()
    }

    /// Pushes a commit of `tree`, which must be refused because of this.
    async fn refused(&self, tree: &str, because: &str) {
        let commit = self.commit(tree).await;
        let said = self.desk.git("trap", &["push", "origin", &format!("{commit}:refs/heads/main")]).await;
        said.refused(because);
        let there = self.hub.app.git.repo(&self.repo.id).run(["cat-file", "-e", &commit], &[]).await;
        assert!(there.is_err(), "nothing of it stays");
    }

    async fn end(self) {
        let git = self.hub.app.git.repo(&self.repo.id);
        assert!(git.run(["fsck", "--strict"], &[]).await.is_ok());
        let waiting = self.hub.app.config.git_dir().join("incoming");
        let left = std::fs::read_dir(waiting).map(Iterator::count).unwrap_or(0);
        assert_eq!(left, 0, "nothing waits");
        self.hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_mean_something_else_on_some_machine() {
    let stage = Stage::set().await;
    let blob = stage.blob(b"x").await;
    let inner = stage.tree(&[("100644", "blob", &blob, "config")]).await;
    let empty = stage.tree(&[]).await;
    // By git's own check, or by ours.
    for name in [".git", ".GIT", "git~1", ".g\u{200c}it", "..", ".", ".git ", ".git::$INDEX_ALLOCATION"] {
        for below in [&inner, &empty] {
            let tree = stage.tree(&[("040000", "tree", below, name)]).await;
            stage.refused(&tree, "remote:").await;
            let deep = stage.tree(&[("040000", "tree", &tree, "folder")]).await;
            stage.refused(&deep, "remote:").await;
        }
    }
    for (name, because) in [
        ("a\\b", "backslash"),
        ("a\nb", "control character"),
        ("end.", "ends with a space or a dot"),
        ("end ", "ends with a space or a dot"),
    ] {
        let tree = stage.tree(&[("100644", "blob", &blob, name)]).await;
        stage.refused(&tree, because).await;
    }
    let long = "x".repeat(300);
    let tree = stage.tree(&[("100644", "blob", &blob, &long)]).await;
    stage.refused(&tree, "more than 255 bytes").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_lead_outside() {
    let stage = Stage::set().await;
    for target in ["/etc/passwd", "../x", "..", "a/../../x", ".git/config", "a\\b"] {
        let blob = stage.blob(target.as_bytes()).await;
        let tree = stage.tree(&[("120000", "blob", &blob, "link")]).await;
        stage.refused(&tree, "leads outside").await;
    }
    // Inside where it stands, and pushed; outside once its folder becomes the root.
    let blob = stage.blob(b"../x").await;
    let folder = stage.tree(&[("120000", "blob", &blob, "link")]).await;
    let root = stage.tree(&[("040000", "tree", &folder, "folder")]).await;
    let commit = stage.commit(&root).await;
    stage.desk.git("trap", &["push", "--quiet", "origin", &format!("{commit}:refs/heads/side")]).await.fine();
    stage.refused(&folder, "leads outside").await;
    stage.end().await;
}

/// A history is looked at some commits at a time: what is in its middle is seen as well as what is at its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_long_history_hides() {
    let stage = Stage::set().await;
    for (hidden, because) in [
        ("M 120000 inline link\ndata 5\n../..\n", "leads outside"),
        ("M 100644 inline model.pkl\ndata 4\n\u{80}\u{2}N.\n", "model.pkl"),
    ] {
        let hidden: Vec<u8> = hidden.chars().map(|c| c as u8).collect();
        for at in [0, 255, 256, 700, 1_023] {
            let name = format!("refs/heads/long-{because:.5}-{at}").replace([' ', '.'], "-");
            let mut stream = Vec::new();
            for n in 0..1_024 {
                let file = format!("M 100644 inline f{n}\ndata 1\nx\n");
                let text = format!("commit {name}\ncommitter x <x@example.org> {n} +0000\ndata 1\nc\n{file}");
                stream.extend_from_slice(text.as_bytes());
                if n == at {
                    stream.extend_from_slice(&hidden);
                }
                if n == at + 1 {
                    stream.extend_from_slice(b"D link\nD model.pkl\n");
                }
            }
            stage.desk.fed("trap", &["fast-import", "--quiet"], &stream).await.fine();
            let said = stage.desk.git("trap", &["push", "origin", &format!("{name}:refs/heads/side")]).await;
            said.refused(because);
        }
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refs_that_the_hub_keeps() {
    let stage = Stage::set().await;
    let tree = stage.tree(&[]).await;
    let commit = stage.commit(&tree).await;
    for name in ["refs/incoming/x", "refs/pr/1", "refs/notes/commits", "refs/replace/x"] {
        let said = stage.desk.git("trap", &["push", "origin", &format!("{commit}:{name}")]).await;
        said.refused("only branches and tags are pushed");
    }
    // A tag that leads to no commit.
    let blob = stage.blob(b"x").await;
    stage.desk.git("trap", &["push", "origin", &format!("{blob}:refs/tags/odd")]).await.refused("no commit");
    // What waits for a commit of the API is shown to nobody.
    let git = stage.hub.app.git.repo(&stage.repo.id);
    git.run(["update-ref", "refs/incoming/secret", "refs/heads/main"], &[]).await.unwrap();
    for version in ["0", "2"] {
        let version = format!("protocol.version={version}");
        let seen = stage.desk.git("trap", &["-c", &version, "ls-remote", "origin"]).await.fine();
        assert!(seen.contains("refs/heads/main") && !seen.contains("incoming"), "{seen}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_belong_beside_git() {
    let stage = Stage::set().await;
    let blob = stage.blob(&noise(1, 20 << 20)).await;
    let tree = stage.tree(&[("100644", "blob", &blob, "weights.txt")]).await;
    stage.refused(&tree, "git lfs migrate").await;
    // Small on the way, large once it is there: two that differ in little.
    let zeros = stage.blob(&vec![0; 64 << 20]).await;
    let tree = stage.tree(&[("100644", "blob", &zeros, "zeros.txt")]).await;
    stage.refused(&tree, "zeros.txt has 67108864 bytes").await;
    // More than the hub takes at once.
    let blob = stage.blob(&noise(2, 40 << 20)).await;
    let tree = stage.tree(&[("100644", "blob", &blob, "more.txt")]).await;
    stage.refused(&tree, "max_push_bytes").await;
    // A pointer to bytes that were never sent, though their digest is known.
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n", "ab".repeat(32));
    let blob = stage.blob(pointer.as_bytes()).await;
    let tree = stage.tree(&[("100644", "blob", &blob, "stolen.bin")]).await;
    stage.refused(&tree, "stolen.bin").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_that_are_broken() {
    let stage = Stage::set().await;
    let desk = &stage.desk;
    let url = format!("{}/git-receive-pack", desk.git("trap", &["config", "remote.origin.url"]).await.fine());
    let http = allmende::tls::client(&stage.hub.url, &allmende::tls::Trust::System).unwrap();
    let blob = stage.blob(b"x").await;
    let tree = stage.tree(&[("100644", "blob", &blob, "x")]).await;
    let commit = stage.commit(&tree).await;
    let command = format!("{} {commit} refs/heads/x\0report-status", "0".repeat(40));
    let head = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
    let whole = {
        // Only the commit: its tree is not sent.
        let mut pack = desk.command("git", &desk.path("trap"));
        pack.args(["pack-objects", "--stdout", "--quiet"]).stdin(std::process::Stdio::piped());
        let mut child = pack.stdout(std::process::Stdio::piped()).spawn().unwrap();
        use tokio::io::AsyncWriteExt as _;
        child.stdin.take().unwrap().write_all(format!("{commit}\n").as_bytes()).await.unwrap();
        child.wait_with_output().await.unwrap().stdout
    };
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut many = whole.clone();
    many[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    for (pack, because) in [
        (whole[..whole.len() - 3].to_vec(), "unpack"),
        (flipped, "unpack"),
        (many, "objects: send at most"),
        (b"PACK".to_vec(), "cut off"),
        (b"no pack at all".to_vec(), "this is no pack"),
        (Vec::new(), "cut off"),
        (whole, "ng refs/heads/x"),
    ] {
        let body = [head.clone(), pack].concat();
        let request = http.post(&url).header("content-type", "application/x-git-receive-pack-request").body(body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        assert!(text.contains(because) && !text.contains("\nok "), "{because}: {text}");
    }
    for bad in [&b"zzzz"[..], b"0004", b"", b"000ahello\n0000", b"fff"] {
        let request = http.post(&url).header("content-type", "application/x-git-receive-pack-request");
        assert_eq!(request.body(bad.to_vec()).send().await.unwrap().status(), 400);
    }
    stage.end().await;
}
