//! What can go wrong between a client and its hub.

use allmende_core::digest::Digest;
use allmende_core::signature::PublicKey;

use crate::error::Problem;
use crate::tls;

/// Longest text of a hub that is shown, in characters.
const MAX_TEXT_CHARACTERS: usize = 2_000;
/// Most clauses of a hub's answer that are shown.
const MAX_CLAUSES: usize = 50;

/// Why a request to the hub failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not a URL of a hub.
    #[error("{0:?} is no hub: write https://host:port, or http:// on this machine")]
    Url(String),
    /// The client could not be built.
    #[error("HTTP client: {0}")]
    Build(String),
    /// The hub cannot be reached, or the connection broke.
    #[error("the hub cannot be reached: {reason}")]
    Connection {
        /// Why, with the inner causes.
        reason: String,
    },
    /// Something answers, and its TLS key or certificate is not what was pinned or is vouched for.
    #[error("the hub is not to be trusted: {reason}")]
    Distrust {
        /// What TLS says.
        reason: String,
        /// Whether a key was pinned, and it is another one.
        other_key: bool,
    },
    /// No answer in time.
    #[error("the hub did not answer within {seconds} s")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// The hub refused, and said why.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The hub refused without saying why.
    #[error("the hub answered with status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is larger than it may be.
    #[error("the hub's answer is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The answer is not what the route promises.
    #[error("the hub's answer to {what} cannot be used: {reason}")]
    Answer {
        /// The request.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// Bytes that are not those of the digest they were asked for by.
    #[error("the hub's answer to {what} is not the bytes of {digest}")]
    OtherBytes {
        /// The request.
        what: String,
        /// The digest of what was asked for.
        digest: Digest,
    },
    /// Another hub answers, or the hub's key was replaced.
    #[error("this hub has the key {got}, not the pinned {pinned}")]
    OtherHub {
        /// The key that was pinned.
        pinned: PublicKey,
        /// The key that it shows.
        got: PublicKey,
    },
    /// No common version.
    #[error("this hub speaks protocol {min} to {max}, this program {ours}")]
    Protocol {
        /// The hub's oldest.
        min: u32,
        /// The hub's newest.
        max: u32,
        /// Ours.
        ours: u32,
    },
    /// The route needs a token, and there is no key to sign in with.
    #[error("this needs a sign-in, and no key was given")]
    NoIdentity,
    /// A name that would not stay inside its path.
    #[error("{0:?} is not the name of a file")]
    Name(String),
    /// The owner's gate lets nothing out.
    #[error("nothing leaves: {0}")]
    Gate(String),
    /// A local file failed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness,
    /// The caller asked to stop.
    #[error("stopped")]
    Cancelled,
}

impl ClientError {
    /// A stable code for programs: the hub's own where it gave one.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Problem(problem) => &problem.code,
            Self::Url(_) | Self::Build(_) => "client.settings",
            Self::Connection { .. } => "client.connection",
            Self::Distrust { .. } => "client.distrust",
            Self::Timeout { .. } => "client.timeout",
            Self::Status { .. } | Self::TooLarge { .. } | Self::Answer { .. } => "client.answer",
            Self::OtherBytes { .. } => "client.other-bytes",
            Self::OtherHub { .. } => "client.other-hub",
            Self::Protocol { .. } => "client.protocol",
            Self::NoIdentity => "client.no-identity",
            Self::Name(_) => "client.name",
            Self::Gate(_) => "client.gate",
            Self::File { .. } => "client.file",
            Self::Randomness => "client.randomness",
            Self::Cancelled => "client.cancelled",
        }
    }

    /// What would help, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => problem.hint.as_deref(),
            Self::OtherHub { .. } => {
                Some("ask the hub's operator; if the key was really replaced, every member must join anew")
            }
            Self::Distrust { other_key: true, .. } => Some(
                "compare the pin with what the hub's operator tells you, letter by letter: either the pin here is wrong, or somebody else answers in the hub's place",
            ),
            Self::Distrust { .. } => Some(
                "nobody whom this machine trusts vouches for it: join with the TLS pin that the hub's operator tells you",
            ),
            Self::Protocol { .. } => Some("use a release that speaks the hub's protocol"),
            _ => None,
        }
    }

    /// The clauses of the agreement that forbid it.
    #[must_use]
    pub fn clauses(&self) -> &[String] {
        match self {
            Self::Problem(problem) => &problem.clauses,
            _ => &[],
        }
    }

    /// The HTTP status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Status { status } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Timeout { .. } => true,
            _ => matches!(self.status(), Some(408 | 429 | 500 | 502 | 503 | 504)),
        }
    }

    /// Whether nothing says that the hub heard the request.
    #[must_use]
    pub const fn is_unheard(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Timeout { .. } | Self::Distrust { .. })
    }

    pub(super) fn from_reqwest(error: &reqwest::Error, timeout_s: u64) -> Self {
        if error.is_timeout() {
            return Self::Timeout { seconds: timeout_s };
        }
        if let Some((reason, other)) = tls::distrust(error) {
            return Self::Distrust { reason, other_key: other.is_some() };
        }
        let chain = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
        // The URL may carry names that belong to no log.
        let reason = chain.skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Self::Connection { reason: if reason.is_empty() { "request failed".to_owned() } else { reason } }
    }

    pub(super) fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }
}

/// Text of a hub as it may be shown: bounded, and without characters that steer a terminal or reorder what is read.
#[must_use]
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).take(MAX_TEXT_CHARACTERS).collect()
}

/// A problem as it may be shown.
pub(super) fn plain_problem(mut problem: Problem, status: u16) -> Problem {
    for text in [&mut problem.kind, &mut problem.code, &mut problem.title, &mut problem.detail] {
        *text = plain(text);
    }
    problem.hint = problem.hint.map(|t| plain(&t));
    problem.request_id = problem.request_id.map(|t| plain(&t));
    problem.clauses.truncate(MAX_CLAUSES);
    problem.clauses.iter_mut().for_each(|c| *c = plain(c));
    problem.status = status;
    problem
}
