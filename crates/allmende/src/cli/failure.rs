//! How commands fail: exit codes that mean something, and a text that says what happened, why, and what to do next.

use allmende_core::state::Refusal;
use serde::Serialize;

use crate::client::home::HomeError;
use crate::client::home::sealed::SealedError;
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
            HomeError::NoKey { .. } => failure.code("key.missing").next("bring the key's file back, or give --key-file"),
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
