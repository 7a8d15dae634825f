//! What is read: `git upload-pack`, with its answer streamed.

use std::io::Error;
use std::process::Stdio;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::body::{self, Bytestream};
use super::packet;
use crate::app::App;
use crate::error::ApiError;
use crate::git::{GitError, GitRepo};

/// Most bytes in which a client says what it wants and has.
const MAX_REQUEST_BYTES: u64 = 64 << 20;
/// Bytes of the answer that are read at once; a few of these wait for a slow client.
const PIECE_BYTES: usize = 64 << 10;

/// How git is asked: what nobody may see is hidden, partial clones are welcome, memory is bounded.
const SETTINGS: &[&str] = &[
    "transfer.hideRefs=refs/incoming",
    "uploadpack.allowFilter=true",
    "pack.threads=2",
    "pack.windowMemory=64m",
    "core.bigFileThreshold=16m",
];

fn command(app: &App, git: &GitRepo, headers: &HeaderMap, more: &[&str]) -> Command {
    let timeout = format!("--timeout={}", app.config.transfer_timeout_s.clamp(1, 86_400));
    let mut args: Vec<&str> = SETTINGS.iter().flat_map(|setting| ["-c", setting]).collect();
    args.extend(["upload-pack", "--stateless-rpc", "--strict", &timeout]);
    args.extend(more);
    let mut command = git.command(args);
    command.arg(git.dir());
    if let Some(version) = version(headers) {
        command.env("GIT_PROTOCOL", format!("version={version}"));
    }
    command
}

/// The version of the protocol that the client asks for beside the first.
fn version(headers: &HeaderMap) -> Option<u8> {
    let asked = headers.get("git-protocol")?.to_str().ok()?;
    let version = asked.split(':').find_map(|part| part.strip_prefix("version="));
    version.and_then(|version| version.parse().ok()).filter(|version| (1..=2).contains(version))
}

/// The refs, or what this hub can do.
pub fn advertise(
    app: &App,
    git: &GitRepo,
    headers: &HeaderMap,
    slot: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    let child = command(app, git, headers, &["--http-backend-info-refs"]).spawn().map_err(GitError::from)?;
    let mut first = Vec::new();
    if version(headers) != Some(2) {
        packet::put(&mut first, b"# service=git-upload-pack\n");
        first.extend_from_slice(packet::FLUSH);
    }
    let body = run(app, child, stream::empty().boxed(), first.into(), slot);
    Ok(super::answer("application/x-git-upload-pack-advertisement", body))
}

/// The objects that are asked for.
pub fn serve(app: &App, git: &GitRepo, request: Request, slot: OwnedSemaphorePermit) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let input = body::open(&parts.headers, body, MAX_REQUEST_BYTES)?;
    let child = command(app, git, &parts.headers, &[]).stdin(Stdio::piped()).spawn().map_err(GitError::from)?;
    let body = run(app, child, input, Bytes::new(), slot);
    Ok(super::answer("application/x-git-upload-pack-result", body))
}

/// The answer of a call, `first` before it, while it is made. The call ends when the client goes, or its time is over.
fn run(app: &App, mut child: Child, input: Bytestream, first: Bytes, slot: OwnedSemaphorePermit) -> Body {
    let (send, mut receive) = mpsc::channel::<Result<Bytes, Error>>(4);
    let limit = Duration::from_secs(app.config.transfer_timeout_s);
    app.tasks.spawn(async move {
        let work = async {
            if !first.is_empty() && send.send(Ok(first)).await.is_err() {
                return Ok(());
            }
            pump(&mut child, input, &send).await
        };
        let done = tokio::select! {
            done = tokio::time::timeout(limit, work) => done.unwrap_or_else(|_| Err(Error::other("the fetch took too long"))),
            () = send.closed() => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a fetch broke off");
            // The answer must not look whole.
            let _ = send.try_send(Err(error));
        }
        // Dropping it kills it.
        drop(child);
        drop(slot);
    });
    Body::from_stream(stream::poll_fn(move |context| receive.poll_recv(context)))
}

async fn pump(
    child: &mut Child,
    mut input: Bytestream,
    send: &mpsc::Sender<Result<Bytes, Error>>,
) -> Result<(), Error> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        while let Some(piece) = input.next().await {
            // A call that has heard enough closes its end.
            if stdin.write_all(&piece?).await.is_err() {
                break;
            }
        }
        let _ = stdin.shutdown().await;
        Ok::<_, Error>(())
    };
    let read = async {
        let Some(mut stdout) = stdout else { return Ok(()) };
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            if stdout.read_buf(&mut piece).await? == 0 || send.send(Ok(piece.freeze())).await.is_err() {
                return Ok::<_, Error>(());
            }
        }
    };
    let words = async {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = (&mut stderr).take(8 << 10).read_to_end(&mut said).await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        Ok::<_, Error>(said)
    };
    let ((), (), said) = tokio::try_join!(feed, read, words)?;
    if !child.wait().await?.success() {
        // The client has heard why from git itself, or has gone.
        tracing::debug!(said = %String::from_utf8_lossy(&said), "git upload-pack ended with a failure");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_versions_are_passed_on() {
        let of =
            |text: &str| version(&HeaderMap::from_iter([("git-protocol".parse().unwrap(), text.parse().unwrap())]));
        assert_eq!((of("version=2"), of("version=1"), of("x=y:version=2")), (Some(2), Some(1), Some(2)));
        for text in ["version=0", "version=3", "version=2;x", "", "version=", "VERSION=2"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(version(&HeaderMap::new()), None);
    }
}
