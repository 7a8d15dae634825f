//! The file of a secret key: text of fixed lines, encrypted with a passphrase.
//!
//! ```text
//! allmende-key v1
//! class: governance
//! public: ed25519:…
//! kdf: argon2id m=65536 t=3 p=1          (or none)
//! salt: 32 hexadecimal digits
//! cipher: xchacha20poly1305
//! nonce: 48 hexadecimal digits
//! sealed: 96 hexadecimal digits
//! ```
//! Every line before the last is authenticated with the secret, so that none can be changed unnoticed; parameters stand in
//! the file, so that later versions may ask for more. Without a passphrase `kdf: none` is followed by `secret:` alone.

use allmende_core::digest::{from_hex, to_hex};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::statement::KeyClass;
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use zeroize::Zeroizing;

const FIRST_LINE: &str = "allmende-key v1";
const CIPHER: &str = "xchacha20poly1305";
/// Most memory that a file may ask of whoever opens it, in KiB: a prepared file must not exhaust the machine.
const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Most passes over that memory.
const MAX_PASSES: u32 = 64;
/// Most lanes.
const MAX_LANES: u32 = 16;

/// A passphrase, wiped on drop and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Whether it has no character.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of characters.
    #[must_use]
    pub fn characters(&self) -> usize {
        self.0.chars().count()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// How hard it is to try a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Effort {
    /// Whether a file may ask it of whoever opens it.
    pub(crate) const fn is_reasonable(&self) -> bool {
        self.memory_kib <= MAX_MEMORY_KIB && self.passes <= MAX_PASSES && self.lanes <= MAX_LANES
    }
}

impl Default for Effort {
    /// The second recommendation of RFC 9106, section 4, with one lane: 64 MiB, three passes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

/// What a key file is protected with.
#[derive(Debug, Clone)]
pub enum Protection {
    /// A passphrase and its effort.
    Passphrase(Passphrase, Effort),
    /// Nothing but the file's permissions: for tests and demos.
    None,
}

/// Why a key file cannot be made or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Not a key file, or of a version that this program does not know.
    #[error("line {line}: expected {expected}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// It asks for more work than is reasonable.
    #[error("the key derivation asks for more than {MAX_MEMORY_KIB} KiB, {MAX_PASSES} passes or {MAX_LANES} lanes")]
    TooMuchWork,
    /// Encrypted, and no passphrase was given.
    #[error("the key is encrypted and needs its passphrase")]
    NeedsPassphrase,
    /// The passphrase is wrong, or the file was changed.
    #[error("the passphrase is wrong, or the file was changed")]
    WrongPassphrase,
    /// The secret does not belong to the public key that the file names.
    #[error("the secret does not belong to the public key that the file names")]
    OtherKey,
    /// The derivation failed, for want of memory.
    #[error("key derivation failed: {0}")]
    Derivation(String),
}

/// The randomness that one file needs, from the operating system.
#[derive(Clone)]
pub struct Fresh {
    /// For the derivation.
    pub salt: [u8; 16],
    /// For the cipher.
    pub nonce: [u8; 24],
}

/// A key file that was read and not yet opened.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// What the key is for.
    pub class: KeyClass,
    /// The public half.
    pub public: PublicKey,
    sealing: Sealing,
    /// The lines that are authenticated with the secret.
    head: String,
}

#[derive(Clone, PartialEq, Eq)]
enum Sealing {
    None { secret: Zeroizing<[u8; 32]> },
    Passphrase { effort: Effort, salt: [u8; 16], nonce: [u8; 24], sealed: [u8; 48] },
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFile({} {:?})", self.class, self.public)
    }
}

/// The key that a passphrase gives.
///
/// # Errors
/// [`SealedError::Derivation`] when there is too little memory.
pub(crate) fn derive(passphrase: &Passphrase, salt: &[u8], effort: Effort) -> Result<Zeroizing<[u8; 32]>, SealedError> {
    let failed = |e: argon2::Error| SealedError::Derivation(e.to_string());
    let params = Params::new(effort.memory_kib, effort.passes, effort.lanes, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(passphrase.0.as_bytes(), salt, &mut *key).map_err(failed)?;
    Ok(key)
}

/// The text of a key file.
///
/// # Errors
/// [`SealedError::Derivation`] when there is too little memory.
pub fn seal(
    class: KeyClass,
    key: &SecretKey,
    protection: &Protection,
    fresh: &Fresh,
) -> Result<Zeroizing<String>, SealedError> {
    let seed = Zeroizing::new(key.seed());
    let head = format!("{FIRST_LINE}\nclass: {class}\npublic: {}\n", key.public());
    let Protection::Passphrase(passphrase, effort) = protection else {
        return Ok(Zeroizing::new(format!("{head}kdf: none\nsecret: {}\n", to_hex(&*seed))));
    };
    let Effort { memory_kib, passes, lanes } = effort;
    let head = format!(
        "{head}kdf: argon2id m={memory_kib} t={passes} p={lanes}\nsalt: {}\ncipher: {CIPHER}\nnonce: {}\n",
        to_hex(&fresh.salt),
        to_hex(&fresh.nonce)
    );
    let wrapping = derive(passphrase, &fresh.salt, *effort)?;
    let cipher = XChaCha20Poly1305::new(&(*wrapping).into());
    let payload = Payload { msg: &*seed, aad: head.as_bytes() };
    let sealed = cipher
        .encrypt(&fresh.nonce.into(), payload)
        .map_err(|_| SealedError::Derivation("the cipher refused 32 bytes".to_owned()))?;
    Ok(Zeroizing::new(format!("{head}sealed: {}\n", to_hex(&sealed))))
}

impl KeyFile {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// [`SealedError`] names the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, SealedError> {
        let mut lines = text.split_inclusive('\n').enumerate();
        let mut next = |expected: &'static str| {
            let (line, text) = lines.next().map_or((0, ""), |(i, text)| (i + 1, text));
            // Without its line break the last line may be cut short.
            text.strip_suffix('\n').ok_or(SealedError::Syntax { line, expected }).map(|text| (line, text))
        };
        let mut field = |name: &'static str, expected: &'static str| {
            let (line, text) = next(expected)?;
            let wrong = SealedError::Syntax { line, expected };
            if name.is_empty() {
                return if text == expected { Ok((text, wrong)) } else { Err(wrong) };
            }
            match text.split_once(": ") {
                Some((found, value)) if found == name => Ok((value, wrong)),
                _ => Err(wrong),
            }
        };
        field("", FIRST_LINE)?;
        let (class, wrong) = field("class", "class: root, recovery, governance or node")?;
        let class: KeyClass = class.parse().map_err(|_| wrong)?;
        let (public, wrong) = field("public", "public: ed25519:…")?;
        let public: PublicKey = public.parse().map_err(|_| wrong)?;
        let (kdf, wrong) = field("kdf", "kdf: argon2id m=… t=… p=…, or none")?;
        if kdf == "none" {
            let (secret, wrong) = field("secret", "secret: 64 hexadecimal digits")?;
            let secret = Zeroizing::new(from_hex(secret).ok_or(wrong)?);
            return Ok(Self { class, public, sealing: Sealing::None { secret }, head: String::new() });
        }
        let effort = parse_effort(kdf).ok_or(wrong)?;
        if !effort.is_reasonable() {
            return Err(SealedError::TooMuchWork);
        }
        let (salt, wrong) = field("salt", "salt: 32 hexadecimal digits")?;
        let salt = from_hex(salt).ok_or(wrong)?;
        let (cipher, wrong) = field("cipher", "cipher: xchacha20poly1305")?;
        if cipher != CIPHER {
            return Err(wrong);
        }
        let (nonce, wrong) = field("nonce", "nonce: 48 hexadecimal digits")?;
        let nonce = from_hex(nonce).ok_or(wrong)?;
        let (sealed, wrong) = field("sealed", "sealed: 96 hexadecimal digits")?;
        let sealed = from_hex(sealed).ok_or(wrong)?;
        let head: String = text.split_inclusive('\n').take(7).collect();
        if text.split_inclusive('\n').count() != 8 {
            return Err(SealedError::Syntax { line: 9, expected: "nothing more" });
        }
        Ok(Self { class, public, sealing: Sealing::Passphrase { effort, salt, nonce, sealed }, head })
    }

    /// Whether a passphrase is needed to open it.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        matches!(self.sealing, Sealing::Passphrase { .. })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`SealedError::WrongPassphrase`], [`SealedError::NeedsPassphrase`] or [`SealedError::OtherKey`].
    pub fn open(&self, passphrase: Option<&Passphrase>) -> Result<SecretKey, SealedError> {
        let key = match &self.sealing {
            Sealing::None { secret } => SecretKey::from_seed(secret),
            Sealing::Passphrase { effort, salt, nonce, sealed } => {
                let passphrase = passphrase.ok_or(SealedError::NeedsPassphrase)?;
                let wrapping = derive(passphrase, salt, *effort)?;
                let cipher = XChaCha20Poly1305::new(&(*wrapping).into());
                let payload = Payload { msg: sealed, aad: self.head.as_bytes() };
                let seed = cipher.decrypt(&(*nonce).into(), payload).map_err(|_| SealedError::WrongPassphrase)?;
                let seed = Zeroizing::new(seed);
                let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| SealedError::WrongPassphrase)?;
                SecretKey::from_seed(seed)
            }
        };
        if key.public() == self.public { Ok(key) } else { Err(SealedError::OtherKey) }
    }
}

/// Reads `argon2id m=… t=… p=…`.
pub(crate) fn parse_effort(text: &str) -> Option<Effort> {
    let mut words = text.strip_prefix("argon2id ")?.split(' ');
    let mut number = |prefix: &str| words.next()?.strip_prefix(prefix)?.parse().ok();
    let effort = Effort { memory_kib: number("m=")?, passes: number("t=")?, lanes: number("p=")? };
    words.next().is_none().then_some(effort)
}
