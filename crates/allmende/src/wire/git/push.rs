//! What is pushed, in the words of git's protocol: <https://git-scm.com/docs/pack-protocol#_pushing_data_to_a_server>

use axum::extract::Request;
use axum::response::Response;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::packet::{self, Band};
use super::{Door, body, broken};
use crate::app::App;
use crate::content::{ContentError, licence, pickle};
use crate::error::{ApiError, Code};
use crate::git::incoming::Incoming;
use crate::git::refs::Change;
use crate::git::{GitError, GitRepo, Oid};
use crate::repo::card::Head;
use crate::repo::ops::{MAIN, see};
use crate::repo::push::{Outcome, admit, land, look};
use crate::repo::{RepoError, Right, store};

/// Most refs of one push.
const MAX_CHANGES: usize = 1_000;
/// Bytes of commands beside the pack.
const MAX_COMMAND_BYTES: u64 = 1 << 20;
/// What this hub can do; the agent says who it is.
const CAPABILITIES: &str = concat!(
    "report-status delete-refs side-band-64k quiet atomic ofs-delta object-format=sha1 agent=allmende/",
    env!("CARGO_PKG_VERSION")
);

/// The refs that a push may build upon.
pub async fn advertise(git: &GitRepo) -> Result<Response, ApiError> {
    let args = ["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags", "refs/pr"];
    let refs = String::from_utf8(git.run(args, &[]).await?).map_err(|_| broken("a ref's name is no UTF-8"))?;
    let mut out = Vec::new();
    packet::put(&mut out, b"# service=git-receive-pack\n");
    out.extend_from_slice(packet::FLUSH);
    let nothing = format!("{} capabilities^{{}}", Oid::ZERO);
    let lines = if refs.is_empty() { &nothing } else { &refs };
    for (i, line) in lines.lines().enumerate() {
        let tail = if i == 0 { format!("\0{CAPABILITIES}\n") } else { "\n".to_owned() };
        packet::put(&mut out, format!("{line}{tail}").as_bytes());
    }
    out.extend_from_slice(packet::FLUSH);
    Ok(super::answer("application/x-git-receive-pack-advertisement", out))
}

/// What a client asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The refs that are to move.
    pub changes: Vec<Change>,
    atomic: bool,
    side_band: bool,
    report: bool,
}

impl Asked {
    /// Reads the lines up to the end of their list; what follows is the pack.
    ///
    /// # Errors
    /// [`Code::BadRequest`].
    pub async fn read(input: &mut (impl AsyncRead + Unpin)) -> Result<Self, ApiError> {
        let mut asked = Self::default();
        while let Some(line) = packet::read(input).await? {
            asked.line(&line)?;
        }
        Ok(asked)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), ApiError> {
        let bad = |text: &str| ApiError::new(Code::BadRequest, text);
        let text = std::str::from_utf8(line).map_err(|_| bad("a ref's name is no UTF-8"))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        // From a clone without its whole past. What the push leads to has to be here all the same.
        if text.starts_with("shallow ") {
            return Ok(());
        }
        let (command, capabilities) = text.split_once('\0').unwrap_or((text, ""));
        if self.changes.is_empty() {
            let has = |name: &str| capabilities.split(' ').any(|word| word == name);
            (self.atomic, self.side_band, self.report) = (has("atomic"), has("side-band-64k"), has("report-status"));
            if capabilities.split(' ').any(|word| word.starts_with("object-format=") && word != "object-format=sha1") {
                return Err(bad("this hub's repositories name objects by SHA-1"));
            }
        }
        let mut fields = command.splitn(3, ' ');
        let (old, new, name) = (fields.next(), fields.next(), fields.next());
        let (Some(Ok(old)), Some(Ok(new)), Some(name)) = (old.map(str::parse), new.map(str::parse), name) else {
            return Err(bad("a command that no push has"));
        };
        if self.changes.len() == MAX_CHANGES {
            return Err(bad("more than 1000 refs in one push"));
        }
        self.changes.push(Change { name: name.to_owned(), old, new });
        Ok(())
    }
}

/// Takes a push to its end and reports.
pub async fn receive(app: &App, door: &Door, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let max_bytes = app.config.max_push_bytes;
    let input = body::open(&parts.headers, body, max_bytes.saturating_mul(2).saturating_add(MAX_COMMAND_BYTES))?;
    let mut input = StreamReader::new(input);
    let asked = Asked::read(&mut input).await?;
    let kind = "application/x-git-receive-pack-result";
    if asked.changes.is_empty() {
        // So a client finds out whether it may push, before it sends much.
        return Ok(super::answer(kind, Vec::new()));
    }
    let mut incoming = Incoming::begin(&door.seen.git(app)).await?;
    let taken = match asked.changes.iter().any(|change| change.new != Oid::ZERO) {
        true => incoming.take(&mut input, max_bytes).await,
        false => Ok(()),
    };
    let mut warnings = Vec::new();
    let (unpacked, outcomes) = match taken {
        Ok(()) => (Ok(()), decide(app, door, incoming, &asked, &mut warnings).await?),
        Err(GitError::Refused(text)) => {
            let each = asked.changes.iter().map(|_| Err("nothing of this push was taken".to_owned()));
            (Err(text), each.collect())
        }
        Err(error) => return Err(error.into()),
    };
    Ok(super::answer(kind, report(&asked, &unpacked, &outcomes, &warnings)))
}

/// What becomes of each change. What whoever pushes should hear beside that goes to `warnings`.
async fn decide(
    app: &App,
    door: &Door,
    incoming: Incoming,
    asked: &Asked,
    warnings: &mut Vec<String>,
) -> Result<Vec<Outcome>, ApiError> {
    let mut outcomes: Vec<Outcome> = asked.changes.iter().map(admit).collect();
    let admitted = |(change, outcome): (&Change, &Outcome)| outcome.is_ok().then(|| change.clone());
    let changes: Vec<Change> = asked.changes.iter().zip(&outcomes).filter_map(admitted).collect();
    let mut rest = if asked.atomic && changes.len() < outcomes.len() {
        changes.iter().map(|_| Err("another ref of the same push was refused".to_owned())).collect()
    } else {
        let mut gate = pickle::Gate::of(app, &door.seen.repo);
        match look_into(app, door, &incoming, &changes, &mut gate).await {
            Ok(()) => {
                // A long push may outlive the right to make it.
                let outcomes = land(app, &again(app, door).await?, incoming, changes.clone(), asked.atomic).await?;
                warnings.extend(gate.warnings());
                let landed = changes.iter().zip(&outcomes).any(|(change, done)| change.name == MAIN && done.is_ok());
                if landed {
                    warnings.extend(licences(app, door).await?);
                }
                outcomes
            }
            Err(
                ContentError::Repo(RepoError::Git(GitError::Refused(text)))
                | ContentError::Git(GitError::Refused(text)),
            ) => changes.iter().map(|_| Err(text.clone())).collect(),
            Err(error) => return Err(error.into()),
        }
    }
    .into_iter();
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
        *outcome = rest.next().ok_or_else(|| broken("an outcome is missing"))?;
    }
    Ok(outcomes)
}

async fn look_into(
    app: &App,
    door: &Door,
    incoming: &Incoming,
    changes: &[Change],
    gate: &mut pickle::Gate<'_>,
) -> Result<(), ContentError> {
    let mut looking = look(app, &door.seen, incoming, changes).await?;
    while let Some(files) = looking.files().await? {
        gate.files(incoming.git(), files).await?;
    }
    Ok(())
}

/// What the licences of the main branch's card and of its sources say to each other.
async fn licences(app: &App, door: &Door) -> Result<Vec<String>, ApiError> {
    let head = store::head(&mut *app.db.read().await?, &door.seen.repo.id).await?;
    let Some(card) = serde_json::from_str::<Head>(&head).unwrap_or_default().card else { return Ok(Vec::new()) };
    Ok(licence::of(app, door.principal.as_ref(), door.seen.repo.kind, &card).await?.warnings())
}

async fn again(app: &App, door: &Door) -> Result<crate::repo::ops::Seen, ApiError> {
    let repo = &door.seen.repo;
    let seen = see(app, door.principal.as_ref(), repo.kind, repo.owner.name.as_str(), repo.name.as_str()).await?;
    seen.require(Right::Write)?;
    if seen.repo.id == repo.id { Ok(seen) } else { Err(RepoError::NotFound.into()) }
}

fn report(asked: &Asked, unpacked: &Result<(), String>, outcomes: &[Outcome], warnings: &[String]) -> Vec<u8> {
    let line = |text: &str| text.replace('\n', " ");
    let mut lines = Vec::new();
    let first = unpacked.as_ref().map_or_else(|text| format!("unpack {}\n", line(text)), |()| "unpack ok\n".to_owned());
    packet::put(&mut lines, first.as_bytes());
    for (Change { name, .. }, outcome) in asked.changes.iter().zip(outcomes) {
        let line = match outcome {
            Ok(()) => format!("ok {name}\n"),
            Err(text) => format!("ng {name} {}\n", line(text)),
        };
        packet::put(&mut lines, line.as_bytes());
    }
    lines.extend_from_slice(packet::FLUSH);
    let mut out = Vec::new();
    if !asked.side_band {
        return if asked.report { lines } else { out };
    }
    // In one place and whole, where the lines of refs are cut by narrow terminals.
    let mut said: Vec<&str> = unpacked.as_ref().err().into_iter().map(String::as_str).collect();
    for text in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        if unpacked.is_ok() && !said.contains(&text.as_str()) {
            said.push(text);
        }
    }
    for text in said {
        packet::put_band(&mut out, Band::Words, format!("refused: {text}\n").as_bytes());
    }
    for text in warnings {
        packet::put_band(&mut out, Band::Words, format!("warning: {}\n", line(text)).as_bytes());
    }
    if asked.report {
        packet::put_band(&mut out, Band::Data, &lines);
    }
    out.extend_from_slice(packet::FLUSH);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let (old, new) = ("0".repeat(40), "1".repeat(40));
        let mut asked = Asked::default();
        asked.line(format!("shallow {new}").as_bytes()).unwrap();
        let first = format!("{old} {new} refs/heads/a b\0 report-status side-band-64k atomic agent=git/2\n");
        asked.line(first.as_bytes()).unwrap();
        asked.line(format!("{new} {old} refs/heads/b").as_bytes()).unwrap();
        assert_eq!((asked.atomic, asked.side_band, asked.report), (true, true, true));
        assert_eq!(asked.changes[0].name, "refs/heads/a b");
        assert_eq!(asked.changes[1].new, Oid::ZERO);
        for bad in ["", "x", &format!("{old} {new}"), &format!("{old} x refs/heads/a")] {
            assert!(asked.line(bad.as_bytes()).is_err(), "{bad}");
        }
        let other = format!("{old} {new} refs/heads/a\0object-format=sha256");
        assert!(Asked::default().line(other.as_bytes()).is_err());
    }

    #[test]
    fn outcomes_are_reported() {
        let change = |name: &str| Change { name: name.into(), old: Oid::ZERO, new: Oid::ZERO };
        let changes = vec![change("refs/heads/a"), change("refs/heads/b")];
        let mut asked = Asked { changes, report: true, ..Asked::default() };
        let outcomes = [Ok(()), Err("because\nof it".to_owned())];
        let plain = report(&asked, &Ok(()), &outcomes, &["mind".to_owned()]);
        assert_eq!(plain, b"000eunpack ok\n0014ok refs/heads/a\n0022ng refs/heads/b because of it\n0000");
        asked.side_band = true;
        let banded = String::from_utf8(report(&asked, &Ok(()), &outcomes, &["mind\nit".to_owned()])).unwrap();
        assert!(banded.contains("\u{2}warning: mind it\n"));
        assert!(banded.contains("\u{2}refused: because\nof it\n") && banded.ends_with("00000000"));
    }
}
