//! How commands fail: exit codes that mean something, and a text that says what happened, why, and what to do next.

use allmende_core::state::Refusal;
use serde::Serialize;

use crate::client::error::ClientError;
use crate::client::home::HomeError;
use crate::client::home::sealed::SealedError;
use crate::client::mirror::MirrorError;
use crate::client::store::StoreError;
use crate::client::submit::SubmitError;
use crate::config::ConfigError;
use crate::keyfile::KeyFileError;

macro_rules! exits {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $word:literal;)+) => {
        /// What the process ends with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Exit { $($(#[doc = $doc])+ $name,)+ }

        impl Exit {
            /// All codes: number, word, meaning.
            pub const TABLE: &[(u8, &'static str, &'static str)] = &[$(($code, $word, concat!($($doc),+))),+];

            /// The number.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code),+ }
            }
        }
    };
}

exits! {
    /// Done.
    Ok = 0 "ok";
    /// Something failed.
    Failure = 1 "failure";
    /// The command line, a file given on it, or the place it runs in is wrong.
    Usage = 2 "usage";
    /// The rules or the signed terms refuse it; the clause is named.
    Refused = 3 "refused";
    /// Verification found something wrong; the first wrong thing is named.
    Wrong = 4 "verification";
    /// The hub cannot be reached, or another hub answered.
    Unreachable = 5 "unreachable";
    /// Interrupted by Ctrl-C.
    Interrupted = 130 "interrupted";
}

impl Exit {
    /// The table as it stands in the help.
    #[must_use]
    pub fn help() -> String {
        let line = |(code, _, doc): &(u8, &str, &str)| format!("  {code:>3}  {}\n", doc.trim());
        format!("Exit codes:\n{}", Self::TABLE.iter().map(line).collect::<String>())
    }
}

/// A command's failure.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// A stable code for programs, where the reason has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened.
    pub what: String,
    /// Why, in further lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// The clauses that forbid it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Failure {
    /// A failure with what happened.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, code: None, what: what.into(), why: Vec::new(), clauses: Vec::new(), next: None }
    }

    /// A mistake on the command line or in a file given on it.
    #[must_use]
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// A plain failure.
    #[must_use]
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }

    /// A failure of the file system at `path`.
    #[must_use]
    pub fn file(path: &std::path::Path, error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Usage, format!("{}: {error}", path.display()))
    }

    /// Adds a stable code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// Adds the clauses that forbid it.
    #[must_use]
    pub fn clauses(mut self, clauses: impl IntoIterator<Item = String>) -> Self {
        self.clauses.extend(clauses);
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        let failure = Self::usage(error.to_string());
        match error {
            HomeError::Missing { .. } => {
                failure.code("home.missing").next("make one with 'allmende init --party NAME', or point --home at it")
            }
            HomeError::Exists { .. } => {
                failure.code("home.exists").next("choose another --home, or look at it with 'allmende whoami'")
            }
            HomeError::NotJoined { .. } => {
                failure.code("home.not-joined").next("join with 'allmende join URL --hub-key ed25519:…'")
            }
            HomeError::NoKey { .. } => {
                failure.code("key.missing").next("bring the key's file back, or give --key-file")
            }
            HomeError::Sealed { source, .. } => failure.code("key.sealed").next(match source {
                SealedError::WrongPassphrase => "try the passphrase again; nobody can recover a lost one",
                SealedError::NeedsPassphrase => "give --passphrase-file, or set ALLMENDE_PASSPHRASE",
                _ => "bring the key's file back from a copy",
            }),
            HomeError::File(KeyFileError::Exposed { path }) => failure
                .code("key.exposed")
                .next(format!("run 'chmod 600 {}'; if others used this machine, rotate the key", path.display())),
            _ => failure.code("home"),
        }
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        HomeError::from(error).into()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string()).code("config").next("see 'allmende config show' for all settings")
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            // What cannot be reached, and what answers but is not our hub.
            ClientError::Connection { .. }
            | ClientError::Timeout { .. }
            | ClientError::Distrust { .. }
            | ClientError::OtherHub { .. }
            | ClientError::Protocol { .. } => Exit::Unreachable,
            ClientError::Url(_) | ClientError::Build(_) | ClientError::Name(_) | ClientError::NoIdentity => Exit::Usage,
            ClientError::Problem(problem) => match problem.status {
                403 => Exit::Refused,
                400 | 404 | 422 => Exit::Usage,
                _ => Exit::Failure,
            },
            _ => Exit::Failure,
        };
        let (mut code, mut what) = (error.code().to_owned(), error.to_string());
        // The hub puts the code of a rule in front of what the rule says.
        if let ClientError::Problem(_) = &error
            && let Some((rule, rest)) = what.split_once(": ")
            && rule.contains('.')
            && rule.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'.' | b'-'))
        {
            (code, what) = (rule.to_owned(), rest.to_owned());
        }
        let mut failure = Self::new(exit, what).code(code).clauses(error.clauses().iter().cloned());
        failure.next = match (&error, error.hint()) {
            (_, Some(hint)) => Some(hint.to_owned()),
            (ClientError::Connection { .. } | ClientError::Timeout { .. }, None) => {
                Some("check that the hub runs and that this machine reaches it, then try again".to_owned())
            }
            (ClientError::Build(_) | ClientError::Url(_), None) => {
                Some("check the hub's URL and TLS pin with its operator".to_owned())
            }
            (ClientError::Problem(problem), None) if problem.status == 401 => {
                Some("check the clock of this machine, and that the key was not revoked".to_owned())
            }
            _ => None,
        };
        failure
    }
}

impl From<MirrorError> for Failure {
    fn from(error: MirrorError) -> Self {
        match error {
            MirrorError::Alarm(alarm) => Self::new(Exit::Wrong, alarm.to_string())
                .code(alarm.code())
                .because("The log was compared with your own verified copy; both checkpoints are kept as evidence.")
                .next("stop your node with 'allmende node stop', and show the evidence to the other members"),
            MirrorError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::InUse { .. } => {
                Self::internal(error).code("mirror.in-use").next("wait for the other command to end")
            }
            StoreError::Io { .. } => Self::internal(error).code("mirror.folder"),
            _ => Self::new(Exit::Wrong, error.to_string())
                .code("mirror.altered")
                .next("somebody or something changed your copy of the log; move it away to fetch it anew"),
        }
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        let code = error.code().to_owned();
        match error {
            SubmitError::Client(error) => error.into(),
            SubmitError::Mirror(error) => error.into(),
            SubmitError::NoAgreement => Self::new(Exit::Refused, error.to_string())
                .code(code)
                .next("every party must sign first: see 'allmende agreement list'"),
            SubmitError::NotPlaced { .. } | SubmitError::Withheld(_) => Self::new(Exit::Wrong, error.to_string())
                .code(code)
                .next("tell the other members: the hub does not show everybody the same log"),
            error => Self::internal(error).code(code),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let mut failure = Self::new(Exit::Refused, refusal.to_string()).code(refusal.code());
        if let Refusal::Denied { decision } = &refusal {
            failure = failure.clauses(decision.clauses.iter().map(|c| c.clause.to_string()));
        }
        match refusal.hint() {
            Some(hint) => failure.next(hint),
            None => failure,
        }
    }
}
