//! What a command has at hand: the flags that hold everywhere, the terminal, the organization's folder.

use std::path::PathBuf;
use std::sync::Mutex;

use allmende_core::signature::SecretKey;
use allmende_core::statement::KeyClass;
use allmende_core::time::Timestamp;

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::passphrase::Source;
use crate::client::home::Home;
use crate::client::home::sealed::Passphrase;
use crate::clock::Clock;

/// At hand in every command.
#[derive(Debug)]
pub struct Context {
    /// The flags.
    pub global: Global,
    /// The terminal.
    pub out: Output,
    clock: Clock,
    /// The last passphrase that opened a key: the keys of a folder usually share one, and nobody types it three times.
    opened: Mutex<Option<Passphrase>>,
}

impl Context {
    /// With these flags and this terminal.
    #[must_use]
    pub fn new(global: Global, out: Output) -> Self {
        Self { global, out, clock: Clock::system(), opened: Mutex::new(None) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The organization's folder, whether it exists or not.
    ///
    /// # Errors
    /// When nothing says where it is.
    pub fn home_dir(&self) -> Result<PathBuf, Failure> {
        let usual = || std::env::home_dir().map(|home| home.join(".allmende"));
        self.global.home.clone().or_else(usual).ok_or_else(|| {
            Failure::usage("there is no home folder").next("say where with --home DIR, or set ALLMENDE_HOME")
        })
    }

    /// The organization's folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn home(&self) -> Result<Home, Failure> {
        Ok(Home::open(&self.home_dir()?)?)
    }

    /// Where the passphrase comes from.
    #[must_use]
    pub fn passphrase(&self) -> Source<'_> {
        Source { file: self.global.passphrase_file.as_deref() }
    }

    /// Opens a key, asking for its passphrase where it has one.
    ///
    /// # Errors
    /// When the key is not here or the passphrase is wrong.
    pub fn key(&self, home: &Home, class: KeyClass) -> Result<SecretKey, Failure> {
        let opened = || self.opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = opened().clone();
        if let Some(passphrase) = before
            && let Ok(key) = home.key::<Failure>(class, || Ok(passphrase))
        {
            return Ok(key);
        }
        home.key(class, || {
            let passphrase = self.passphrase().existing(&self.out, class)?;
            *opened() = Some(passphrase.clone());
            Ok(passphrase)
        })
    }
}
