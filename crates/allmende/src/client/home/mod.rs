//! An organization's own folder: who it is, which hub it joined, and its keys.
//!
//! ```text
//! party.toml            party, hub, the hub's pinned keys
//! keys/root.key         encrypted; belongs offline once the party is registered
//! keys/recovery.key     encrypted; the hub knows its digest only; belongs elsewhere than root.key
//! keys/governance.key   encrypted; signs terms, votes, releases, payouts
//! keys/node.key         plain, readable by its owner only, so that a node starts by itself; narrow and revocable
//! mirror/               verified copies of the logs
//! node/                 the agent's settings, outbox and data
//! ```
//! Architecture invariant: the folder, passphrases and randomness' use come in as arguments; nothing here reads a terminal or
//! the environment, or knows where a home folder usually lies.

use std::path::{Path, PathBuf};

use allmende_core::digest::Digest;
use allmende_core::id::{Label, Origin, PartyId};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::statement::{HUB, KeyClass};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keyfile::{self, KeyFileError};

pub mod sealed;

use sealed::{Fresh, KeyFile, Passphrase, Protection, SealedError};

/// Format of `party.toml`.
const VERSION: u32 = 1;
/// Largest `party.toml`, in bytes.
const MAX_PARTY_BYTES: u64 = 64 * 1024;

/// The hub that the organization joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubPin {
    /// Where it answers.
    pub url: String,
    /// Its key, pinned when joining: every checkpoint and attestation must bear it.
    pub key: PublicKey,
    /// Its name; origins of its logs begin with it.
    pub name: Origin,
    /// SHA-256 of its TLS public key, where TLS is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_pin: Option<Digest>,
}

/// `party.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyFile {
    version: u32,
    /// The organization.
    pub party: PartyId,
    /// The name of the node on this machine.
    pub node: Label,
    /// Where it will join, before it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_url: Option<String>,
    /// The hub it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubPin>,
}

impl PartyFile {
    /// The file of an organization that joined no hub yet.
    #[must_use]
    pub const fn new(party: PartyId, node: Label, hub_url: Option<String>) -> Self {
        Self { version: VERSION, party, node, hub_url, hub: None }
    }
}

/// What is wrong with the folder.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is none.
    #[error("{} holds no organization: {} is missing", dir.display(), dir.join("party.toml").display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// There is one already.
    #[error("{} exists already; keys are never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what it should be.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// A name that the hub keeps for itself.
    #[error("'{HUB}' is the hub's own name; choose another")]
    Reserved,
    /// No hub was joined.
    #[error("{party} has joined no hub yet")]
    NotJoined {
        /// The party.
        party: PartyId,
    },
    /// A key is not here.
    #[error("the {class} key is not here: {} is missing", path.display())]
    NoKey {
        /// Its class.
        class: KeyClass,
        /// Where it would be.
        path: PathBuf,
    },
    /// A key file cannot be opened.
    #[error("{}: {source}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SealedError,
    },
    /// The file system, permissions or randomness.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// The public halves of freshly made keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MadeKeys {
    /// The root key.
    pub root: PublicKey,
    /// The governance key.
    pub governance: PublicKey,
    /// The recovery key.
    pub recovery: PublicKey,
    /// The node's key.
    pub node: PublicKey,
}

/// The folder of one organization.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
    party: PartyFile,
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, HomeError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|_| KeyFileError::Randomness)?;
    Ok(bytes)
}

/// Makes a key of `class` in the file at `path`, which must not exist.
///
/// # Errors
/// [`HomeError::Exists`], or what the file system says.
pub fn make_key(path: &Path, class: KeyClass, protection: &Protection) -> Result<SecretKey, HomeError> {
    let exists = || HomeError::Exists { path: path.into() };
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let key = SecretKey::from_seed(&*random::<32>()?);
    let fresh = Fresh { salt: *random()?, nonce: *random()? };
    let text = sealed::seal(class, &key, protection, &fresh)
        .map_err(|source| HomeError::Sealed { path: path.into(), source })?;
    let kept = keyfile::load_or_create(path, || Ok(text.clone()))?;
    // Another program may have been faster; its key stands, and ours is nobody's.
    if *kept == *text { Ok(key) } else { Err(exists()) }
}

/// Reads the key file at `path`, which only its owner may read.
///
/// # Errors
/// [`HomeError::NoKey`], [`HomeError::Sealed`], or an exposed file.
pub fn read_key(path: &Path, class: KeyClass) -> Result<KeyFile, HomeError> {
    let text = keyfile::load(path)?.ok_or_else(|| HomeError::NoKey { class, path: path.into() })?;
    let file = KeyFile::parse(&text).map_err(|source| HomeError::Sealed { path: path.into(), source })?;
    if file.class == class {
        Ok(file)
    } else {
        Err(HomeError::Content { path: path.into(), message: format!("a {} key, not a {class} key", file.class) })
    }
}

impl Home {
    /// Makes the folder with all keys. Nothing that exists is overwritten; what was made before a failure stays.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn create(dir: &Path, party: PartyFile, protection: &Protection) -> Result<(Self, MadeKeys), HomeError> {
        if party.party.as_str() == HUB {
            return Err(HomeError::Reserved);
        }
        let home = Self { dir: dir.to_owned(), party };
        let classes = [KeyClass::Root, KeyClass::Governance, KeyClass::Recovery, KeyClass::Node];
        let files = std::iter::once(home.party_path()).chain(classes.map(|class| home.key_path(class)));
        if let Some(path) = files.into_iter().find(|path| path.symlink_metadata().is_ok()) {
            return Err(HomeError::Exists { path });
        }
        keyfile::private_dir(&home.dir)?;
        keyfile::private_dir(&home.dir.join("keys"))?;
        let make = |class| {
            let protection = if class == KeyClass::Node { &Protection::None } else { protection };
            Ok::<_, HomeError>(make_key(&home.key_path(class), class, protection)?.public())
        };
        let made = MadeKeys {
            root: make(KeyClass::Root)?,
            governance: make(KeyClass::Governance)?,
            recovery: make(KeyClass::Recovery)?,
            node: make(KeyClass::Node)?,
        };
        // Last, so that a folder with this file is whole.
        home.save()?;
        Ok((home, made))
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// [`HomeError::Missing`] when there is no organization in it.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let path = dir.join("party.toml");
        let io = |source| HomeError::File(KeyFileError::Io { path: path.clone(), source });
        let content = |message: String| HomeError::Content { path: path.clone(), message };
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(HomeError::Missing { dir: dir.into() }),
            Err(e) => return Err(io(e)),
        };
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_PARTY_BYTES), &mut text).map_err(io)?;
        let party: PartyFile = toml::from_str(&text).map_err(|e| content(e.to_string()))?;
        if party.version != VERSION {
            return Err(content(format!("version {} is not known; this program writes {VERSION}", party.version)));
        }
        Ok(Self { dir: dir.to_owned(), party })
    }

    fn party_path(&self) -> PathBuf {
        self.dir.join("party.toml")
    }

    /// Where the key of `class` lies.
    #[must_use]
    pub fn key_path(&self, class: KeyClass) -> PathBuf {
        self.dir.join("keys").join(format!("{class}.key"))
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where verified copies of logs lie.
    #[must_use]
    pub fn mirror_dir(&self) -> PathBuf {
        self.dir.join("mirror")
    }

    /// Where the agent keeps its settings, outbox and data.
    #[must_use]
    pub fn node_dir(&self) -> PathBuf {
        self.dir.join("node")
    }

    /// Who it is.
    #[must_use]
    pub const fn party(&self) -> &PartyId {
        &self.party.party
    }

    /// All of `party.toml`.
    #[must_use]
    pub const fn settings(&self) -> &PartyFile {
        &self.party
    }

    /// The hub it joined.
    ///
    /// # Errors
    /// [`HomeError::NotJoined`].
    pub fn hub(&self) -> Result<&HubPin, HomeError> {
        self.party.hub.as_ref().ok_or_else(|| HomeError::NotJoined { party: self.party.party.clone() })
    }

    /// Pins the hub, durably.
    ///
    /// # Errors
    /// What the file system says.
    pub fn pin_hub(&mut self, hub: HubPin) -> Result<(), HomeError> {
        self.party.hub_url = None;
        self.party.hub = Some(hub);
        self.save()
    }

    /// Reads the key file of `class`.
    ///
    /// # Errors
    /// As [`read_key`].
    pub fn key_file(&self, class: KeyClass) -> Result<KeyFile, HomeError> {
        read_key(&self.key_path(class), class)
    }

    /// Opens the key of `class`; `passphrase` is asked only when the file is encrypted.
    ///
    /// # Errors
    /// What `passphrase` says, or [`HomeError`].
    pub fn key<E: From<HomeError>>(
        &self,
        class: KeyClass,
        passphrase: impl FnOnce() -> Result<Passphrase, E>,
    ) -> Result<SecretKey, E> {
        let file = self.key_file(class)?;
        let passphrase = if file.is_encrypted() { Some(passphrase()?) } else { None };
        let path = self.key_path(class);
        Ok(file.open(passphrase.as_ref()).map_err(|source| HomeError::Sealed { path, source })?)
    }

    /// The node's key, which needs no passphrase.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn node_key(&self) -> Result<SecretKey, HomeError> {
        let path = self.key_path(KeyClass::Node);
        self.key_file(KeyClass::Node)?.open(None).map_err(|source| HomeError::Sealed { path, source })
    }

    /// Puts a freshly made key in the place of the one of its class, whose file stays beside it under the name of its
    /// public half: what it signed can still be told apart.
    ///
    /// # Errors
    /// What the file system says.
    pub fn replace_key(&self, class: KeyClass, made: &Path) -> Result<(), HomeError> {
        let path = self.key_path(class);
        let io = |source| HomeError::File(KeyFileError::Io { path: path.clone(), source });
        let old = self.key_file(class)?.public;
        let kept = path.with_extension(format!("{}.old", old.short()));
        std::fs::hard_link(&path, &kept).map_err(io)?;
        std::fs::rename(made, &path).map_err(io)?;
        sync_dir(&path).map_err(io)
    }

    fn save(&self) -> Result<(), HomeError> {
        let path = self.party_path();
        let io = |source| HomeError::File(KeyFileError::Io { path: path.clone(), source });
        let text = toml::to_string(&self.party)
            .map_err(|e| HomeError::Content { path: path.clone(), message: e.to_string() })?;
        let text = format!("# Made by allmende. The hub's keys below were compared by a person when joining.\n{text}");
        let mut staged = tempfile::NamedTempFile::new_in(&self.dir).map_err(io)?;
        std::io::Write::write_all(&mut staged, text.as_bytes()).map_err(io)?;
        staged.as_file().sync_all().map_err(io)?;
        staged.persist(&path).map_err(|e| io(e.error))?;
        sync_dir(&path).map_err(io)
    }
}

fn sync_dir(file: &Path) -> std::io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    std::fs::File::open(dir)?.sync_all()
}
