//! Where passphrases come from: a file, the environment, or the terminal without echo.

use std::io::BufRead as _;
use std::path::Path;

use allmende_core::statement::KeyClass;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::output::Output;
use crate::client::home::sealed::Passphrase;

/// The environment variable with the passphrase.
pub const VARIABLE: &str = "ALLMENDE_PASSPHRASE";
/// Fewest characters of a new passphrase: below, no key derivation helps.
pub const MIN_CHARACTERS: usize = 8;

/// Where the caller said the passphrase is.
#[derive(Debug, Clone, Default)]
pub struct Source<'a> {
    /// A file whose first line it is.
    pub file: Option<&'a Path>,
}

impl Source<'_> {
    fn given(&self) -> Result<Option<Passphrase>, Failure> {
        if let Some(path) = self.file {
            let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
            let text = Zeroizing::new(text);
            return Ok(Some(Passphrase::new(text.lines().next().unwrap_or_default())));
        }
        Ok(std::env::var(VARIABLE).ok().map(Passphrase::new))
    }

    /// The passphrase of an existing key.
    ///
    /// # Errors
    /// When it is not given and nobody can be asked.
    pub fn existing(&self, out: &Output, class: KeyClass) -> Result<Passphrase, Failure> {
        self.existing_for(out, &format!("Passphrase of the {class} key: "))
    }

    /// The passphrase that `question` asks for.
    ///
    /// # Errors
    /// When it is not given and nobody can be asked.
    pub fn existing_for(&self, out: &Output, question: &str) -> Result<Passphrase, Failure> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => prompt(out, question),
        }
    }

    /// A passphrase for new keys, asked twice.
    ///
    /// # Errors
    /// When it is too short, differs the second time, or nobody can be asked.
    pub fn new_one(&self, out: &Output) -> Result<Passphrase, Failure> {
        self.new_for(out, "New passphrase for your keys: ")
    }

    /// A new passphrase that `question` asks for, asked twice.
    ///
    /// # Errors
    /// As [`Self::new_one`].
    pub fn new_for(&self, out: &Output, question: &str) -> Result<Passphrase, Failure> {
        let passphrase = match self.given()? {
            Some(passphrase) => passphrase,
            None => {
                let first = prompt(out, question)?;
                if prompt(out, "The same again: ")? != first {
                    return Err(Failure::usage("the two passphrases differ").next("run the command again"));
                }
                first
            }
        };
        if passphrase.characters() < MIN_CHARACTERS {
            return Err(Failure::usage(format!("a passphrase has at least {MIN_CHARACTERS} characters"))
                .next("choose a longer one; several words are easy to remember"));
        }
        Ok(passphrase)
    }
}

fn prompt(out: &Output, question: &str) -> Result<Passphrase, Failure> {
    if !out.is_interactive() {
        return Err(Failure::usage("a passphrase is needed, and nobody can be asked here")
            .code("passphrase.missing")
            .next(format!("give --passphrase-file FILE, or set {VARIABLE}")));
    }
    out.prompt(question)?;
    let _silent = Silent::begin()?;
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line).map_err(Failure::internal)?;
    out.note("");
    Ok(Passphrase::new(line.trim_end_matches(['\n', '\r'])))
}

/// Switches the terminal's echo off, and on again when dropped.
struct Silent(rustix::termios::Termios);

impl Silent {
    fn begin() -> Result<Self, Failure> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).map_err(Failure::internal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin, OptionalActions::Flush, &silent).map_err(Failure::internal)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // If the terminal is gone there is no echo to restore.
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}
