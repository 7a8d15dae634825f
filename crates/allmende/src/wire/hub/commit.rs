//! Commits of several changes: what is asked before, and the lines of the commit itself.

use allmende_core::digest::Digest;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lines::{self, Limits};
use super::refs::led_to;
use super::{Base, HubError, There, commit_of, proposes};
use crate::app::App;
use crate::content::{licence, pickle::Gate};
use crate::discussion::{self, Status, pulls};
use crate::error::Code;
use crate::extract::{self, Path};
use crate::git::{GitError, RepoPath};
use crate::repo::attributes::{self, LARGE_BYTES};
use crate::repo::changes::{Change, Commit};
use crate::repo::{RepoError, Right, card, quota};

/// Most files in one question before a commit.
const MAX_FILES: usize = 256;
/// Longest line of a commit: a file of the largest regular size in base64, and its path.
const MAX_LINE_BYTES: usize = 15 << 20;
/// Most bytes of a whole commit.
const MAX_COMMIT_BYTES: u64 = 2 << 30;
/// Most changes of one commit.
const MAX_CHANGES: usize = 25_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    files: Vec<Asked>,
    git_ignore: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    path: String,
    #[serde(default)]
    sample: String,
    size: u64,
}

/// Which files are large, and which stand there already.
pub async fn preupload(
    State(app): State<App>,
    Path((.., revision)): Path<(String, String, String, String)>,
    there: There,
    extract::Json(question): extract::Json<Question>,
) -> Result<Json<Value>, HubError> {
    there.who(Right::Read)?;
    if question.files.len() > MAX_FILES {
        return Err(HubError::new(Code::BadRequest, format!("more than {MAX_FILES} files in one question")));
    }
    let git = there.git(&app);
    let commit = commit_of(&git, &revision).await?;
    let paths: Vec<RepoPath> =
        question.files.iter().map(|file| file.path.parse()).collect::<Result<_, crate::git::InvalidPath>>()?;
    let mut standing = git.entries(commit, &paths).await?;
    git.pointers(&mut standing).await?;
    let lines = match git.entries(commit, &[attributes::PATH.parse()?]).await?.first() {
        Some(entry) if entry.size <= attributes::MAX_BYTES as u64 => git.blob(entry.oid).await?,
        _ => Vec::new(),
    };
    let lines = String::from_utf8_lossy(&lines);
    // What the client has not said stands in the repository, or nowhere.
    let ignored = match question.git_ignore {
        Some(lines) => lines,
        None => match git.entries(commit, &[".gitignore".parse()?]).await?.first() {
            Some(entry) if entry.size <= attributes::MAX_BYTES as u64 => {
                String::from_utf8_lossy(&git.blob(entry.oid).await?).into_owned()
            }
            _ => String::new(),
        },
    };
    let (mut any_large, mut largest_new) = (false, 0);
    let answers = question.files.iter().zip(&paths).map(|(file, path)| {
        let sample = STANDARD.decode(&file.sample).unwrap_or_default();
        let text =
            std::str::from_utf8(&sample).map_or_else(|e| e.error_len().is_none(), |_| true) && !sample.contains(&0);
        let large = file.size > 0 && (file.size > LARGE_BYTES || attributes::is_large(&lines, path) || !text);
        let entry = standing.iter().find(|entry| entry.path == path.as_str());
        any_large |= large;
        largest_new = largest_new.max(if large && entry.is_none() { file.size } else { 0 });
        let oid = entry.map(|e| e.pointer.as_ref().map_or_else(|| e.oid.to_string(), |p| p.sha256.clone()));
        json!({
            "path": file.path, "uploadMode": if large { "lfs" } else { "regular" },
            "shouldIgnore": attributes::is_ignored(&ignored, path), "oid": oid,
        })
    });
    let answers: Vec<Value> = answers.collect();
    if any_large && there.seen.right >= Right::Write {
        // The last place where clients show words: of the doors that take chunks they show the status alone.
        let (mut connection, default) = (app.db.read().await?, app.config.default_quota_bytes);
        quota::require_in(&mut connection, &there.seen.repo, largest_new, default).await?;
    }
    Ok(Json(json!({ "files": answers })))
}

#[derive(Debug, Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
enum Line {
    Header(Header),
    File {
        path: String,
        content: String,
        #[serde(default)]
        encoding: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    LfsFile {
        path: String,
        #[serde(default)]
        algo: Option<String>,
        oid: String,
    },
    DeletedFile {
        path: String,
    },
    DeletedFolder {
        path: String,
    },
}

/// What a commit begins with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    summary: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parent_commit: Option<String>,
}

impl Header {
    /// Summary and description as one message.
    ///
    /// # Errors
    /// [`Code::BadRequest`] when there is none, or too much.
    pub fn message(&self) -> Result<String, HubError> {
        let message = match self.description.as_deref().map(str::trim) {
            None | Some("") => self.summary.clone(),
            Some(description) => format!("{}\n\n{description}", self.summary),
        };
        if message.trim().is_empty() || message.len() > 64 << 10 {
            return Err(bad("a commit has a summary, and summary and description have at most 64 KiB"));
        }
        Ok(message)
    }
}

fn bad(detail: impl Into<String>) -> HubError {
    HubError::new(Code::BadRequest, detail)
}

impl Line {
    fn change(self) -> Result<Change, HubError> {
        let path = |text: &str| text.trim_end_matches('/').parse::<RepoPath>();
        match self {
            Self::Header(_) => Err(bad("a second header")),
            Self::File { path: at, content, encoding } => {
                let bytes = match encoding.as_deref() {
                    Some("base64") => STANDARD.decode(content).map_err(|_| bad(format!("{at}: not base64")))?,
                    None | Some("utf-8") => content.into_bytes(),
                    Some(other) => return Err(bad(format!("{at}: the encoding '{other}' is unknown"))),
                };
                if bytes.len() as u64 > LARGE_BYTES {
                    return Err(bad(format!("{at} has more than {LARGE_BYTES} bytes: upload it as a large file")));
                }
                Ok(Change::Put { path: path(&at)?, bytes })
            }
            Self::LfsFile { path: at, algo, oid } => {
                if algo.is_some_and(|algo| algo != "sha256") {
                    return Err(bad(format!("{at}: only sha256 names large files")));
                }
                let sha256: Digest =
                    format!("sha256:{oid}").parse().map_err(|_| bad(format!("{at}: '{oid}' is no SHA-256")))?;
                Ok(Change::PutLarge { path: path(&at)?, sha256 })
            }
            Self::DeletedFile { path: at } => Ok(Change::Delete { path: path(&at)?, folder: false }),
            Self::DeletedFolder { path: at } => Ok(Change::Delete { path: path(&at)?, folder: true }),
        }
    }
}

/// The lines of a commit, each bounded, as they arrive.
pub struct Lines {
    lines: lines::Lines,
    taken: usize,
}

impl Lines {
    /// The lines of `body`, of which nothing was read.
    #[must_use]
    pub fn of(body: Body) -> Self {
        let limits = Limits { what: "commit", line_bytes: MAX_LINE_BYTES, body_bytes: MAX_COMMIT_BYTES };
        Self { lines: lines::Lines::of(body, limits), taken: 0 }
    }

    /// The first line, which must be the header.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn header(&mut self) -> Result<Header, HubError> {
        match self.lines.next().await? {
            Some(Line::Header(header)) => Ok(header),
            _ => Err(bad("the first line must be the header")),
        }
    }

    /// The change of the next line; none at the end.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn change(&mut self) -> Result<Option<Change>, HubError> {
        let Some(line) = self.lines.next::<Line>().await? else { return Ok(None) };
        self.taken += 1;
        if self.taken > MAX_CHANGES {
            return Err(bad(format!("more than {MAX_CHANGES} changes in one commit")));
        }
        line.change().map(Some)
    }
}

/// Makes a commit of the changes in the body, one JSON object on each line, the header first.
pub async fn commit(
    State(app): State<App>,
    Path((.., revision)): Path<(String, String, String, String)>,
    Base(base): Base,
    there: There,
    request: Request,
) -> Result<Json<Value>, HubError> {
    let principal = there.who(Right::Read)?;
    let create_pr = proposes(request.uri().query());
    let pull = if create_pr { None } else { pulls::of_ref(&app, &there.seen, principal, &revision).await? };
    if !create_pr && pull.is_none() {
        there.who(Right::Write)?;
    }
    let mut lines = Lines::of(request.into_body());
    let header = lines.header().await?;
    let message = header.message()?;
    let Header { description, parent_commit, .. } = header;
    let subject = message.lines().next().unwrap_or_default().to_owned();
    let (revision, parent, num) = match (create_pr, &pull) {
        (true, _) => {
            let git = there.git(&app);
            let branch = format!("refs/heads/{revision}");
            let head = git.resolve(&branch).await.map_err(|_| GitError::NoRevision(revision.clone()))?;
            let from = match parent_commit.as_deref() {
                Some(parent) => led_to(&git, parent).await?,
                None => head,
            };
            let pull = pulls::Start { status: Status::Open, base: branch, from: Some(from) };
            let text = description.as_deref().map(str::trim).filter(|text| !text.is_empty()).unwrap_or(&subject);
            let title: String = subject.chars().take(200).collect();
            let title = if title.trim().chars().count() < 3 { format!("{} (changes)", title.trim()) } else { title };
            let num = pulls::open(&app, &there.seen, principal, &title, text, Some(pull)).await?;
            (discussion::git_ref(num), None, Some(num))
        }
        (false, Some(pull)) => (revision, parent_commit, Some(pull.num)),
        (false, None) => (revision, parent_commit, None),
    };
    let began = Commit::begin(&app, &there.seen, principal, &revision, parent.as_deref(), &message).await;
    let mut commit = began.map_err(moved)?;
    let mut gate = Gate::of(&app, &there.seen.repo);
    let mut carded = None;
    while let Some(change) = lines.change().await? {
        gate.change(&change).await?;
        if let Change::Put { path, bytes } = &change
            && path.as_str() == card::PATH
        {
            carded = card::read(bytes);
        }
        commit.take(change).await?;
    }
    let oid = commit.finish().await.map_err(moved)?;
    gate.committed(&there.git(&app), oid).await?;
    let mut warnings = gate.warnings();
    if let Some(card) = carded {
        warnings.extend(licence::of(&app, Some(principal), there.seen.repo.kind, &card).await?.warnings());
    }
    if let Some(num) = num {
        pulls::note_commit(&app, &there.seen, principal, num, oid, &subject).await?;
    }
    let repo = &there.seen.repo;
    let url = format!("{base}/{}{}/commit/{oid}", repo.kind.prefix(), repo.full_name());
    let mut answer = json!({
        "success": true, "commitOid": oid.to_string(), "commitUrl": url, "hookOutput": warnings.join("\n"),
    });
    if let (true, Some(num), Some(map)) = (create_pr, num, answer.as_object_mut()) {
        let pull = format!("{base}/{}{}/discussions/{num}", repo.kind.prefix(), repo.full_name());
        map.insert("pullRequestUrl".to_owned(), pull.into());
    }
    Ok(Json(answer))
}

fn moved(error: RepoError) -> HubError {
    match error {
        RepoError::Git(GitError::Moved(_)) => HubError::new(
            Code::Conflict,
            "The branch was updated since you opened this page. Please refresh and try again.",
        )
        .status(StatusCode::PRECONDITION_FAILED),
        other => other.into(),
    }
}
