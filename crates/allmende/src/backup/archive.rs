//! The file of a backup: a tar archive inside an encrypted envelope, written and read as a stream.
//!
//! ```text
//! allmende-backup v1
//! kdf: argon2id m=65536 t=3 p=1
//! salt: 32 hexadecimal digits
//! cipher: chacha20poly1305-stream
//! prefix: 14 hexadecimal digits
//! (an empty line, then chunks)
//! ```
//! Every chunk holds 1 MiB of the archive (the last one less) and a tag of 16 bytes. Its nonce is the prefix, the chunk's
//! number (32 bits, big-endian) and one byte that is 1 for the last chunk alone: the STREAM construction, so chunks cannot
//! be reordered, left out, repeated or cut off unnoticed. The lines above are authenticated with every chunk.

use std::io::{self, Read, Write};

use allmende_core::digest::{from_hex, to_hex};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};

use crate::client::home::sealed::{Effort, Passphrase, SealedError, derive, parse_effort};

const FIRST_LINE: &str = "allmende-backup v1";
const CIPHER: &str = "chacha20poly1305-stream";
/// Bytes of the archive in one chunk.
const CHUNK_BYTES: usize = 1 << 20;
const TAG_BYTES: usize = 16;
/// Longest head, in bytes.
const MAX_HEAD_BYTES: usize = 1_024;
/// Size of a tar block.
const BLOCK: usize = 512;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not an archive of this program, or of a version that it does not know.
    #[error("not a backup: expected {0}")]
    Syntax(&'static str),
    /// The passphrase.
    #[error(transparent)]
    Key(#[from] SealedError),
}

fn cipher(head: &Head, passphrase: &Passphrase) -> Result<ChaCha20Poly1305, SealedError> {
    let key = derive(passphrase, &head.salt, head.effort)?;
    Ok(ChaCha20Poly1305::new(&(*key).into()))
}

struct Head {
    effort: Effort,
    salt: [u8; 16],
    prefix: [u8; 7],
}

impl Head {
    fn text(&self) -> String {
        let Effort { memory_kib, passes, lanes } = self.effort;
        format!(
            "{FIRST_LINE}\nkdf: argon2id m={memory_kib} t={passes} p={lanes}\nsalt: {}\ncipher: {CIPHER}\nprefix: {}\n\n",
            to_hex(&self.salt),
            to_hex(&self.prefix)
        )
    }

    fn parse(text: &str) -> Result<Self, ArchiveError> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name).map(str::to_owned);
        let syntax = ArchiveError::Syntax;
        if field(FIRST_LINE).as_deref() != Some("") {
            return Err(syntax("its first line, allmende-backup v1"));
        }
        let effort = field("kdf: ").and_then(|v| parse_effort(&v)).ok_or(syntax("kdf: argon2id m=… t=… p=…"))?;
        if !effort.is_reasonable() {
            return Err(SealedError::TooMuchWork.into());
        }
        let salt = field("salt: ").and_then(|v| from_hex(&v)).ok_or(syntax("salt: 32 hexadecimal digits"))?;
        if field("cipher: ").as_deref() != Some(CIPHER) {
            return Err(syntax("cipher: chacha20poly1305-stream"));
        }
        let prefix = field("prefix: ").and_then(|v| from_hex(&v)).ok_or(syntax("prefix: 14 hexadecimal digits"))?;
        let head = Self { effort, salt, prefix };
        // One spelling only: the text is authenticated as it stands.
        if head.text() == text { Ok(head) } else { Err(syntax("nothing between its lines")) }
    }

    fn nonce(&self, number: u32, last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..7].copy_from_slice(&self.prefix);
        nonce[7..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(last);
        nonce
    }
}

/// Encrypts what is written to it. Without [`Sealer::finish`] the file lacks its end, and no reader takes it.
pub struct Sealer<W: Write> {
    out: W,
    head: Head,
    text: String,
    cipher: ChaCha20Poly1305,
    number: u32,
    pending: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Begins the file. The key derivation takes a moment by design.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn begin(mut out: W, passphrase: &Passphrase, effort: Effort) -> Result<Self, ArchiveError> {
        let (mut salt, mut prefix) = ([0; 16], [0; 7]);
        let fresh = getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut prefix));
        fresh.map_err(|e| io::Error::other(e.to_string()))?;
        let head = Head { effort, salt, prefix };
        let (text, cipher) = (head.text(), cipher(&head, passphrase)?);
        out.write_all(text.as_bytes())?;
        Ok(Self { out, head, text, cipher, number: 0, pending: Vec::with_capacity(CHUNK_BYTES) })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.head.nonce(self.number, last);
        let payload = Payload { msg: &self.pending, aad: self.text.as_bytes() };
        let sealed = self.cipher.encrypt(&nonce.into(), payload).map_err(|_| io::Error::other("the cipher refused"))?;
        self.out.write_all(&sealed)?;
        self.pending.clear();
        // 2^32 chunks are 4 PiB.
        self.number = self.number.checked_add(1).ok_or_else(|| io::Error::other("more than 4 PiB in one archive"))?;
        Ok(())
    }

    /// Writes the last chunk.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until it is known that another one follows.
        if self.pending.len() == CHUNK_BYTES && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decrypts an archive. Nothing is given out that was not authenticated; the end is given out only if it is the end.
pub struct Opener<R: Read> {
    from: R,
    head: Head,
    text: String,
    cipher: ChaCha20Poly1305,
    number: u32,
    plain: Vec<u8>,
    at: usize,
    /// The first byte of the next chunk, which says that there is one.
    ahead: Option<u8>,
    ended: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the head and derives the key.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn begin(mut from: R, passphrase: &Passphrase) -> Result<Self, ArchiveError> {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\n\n") {
            if text.len() >= MAX_HEAD_BYTES || from.read(&mut byte)? == 0 {
                return Err(ArchiveError::Syntax("its first line, allmende-backup v1"));
            }
            text.push(byte[0]);
        }
        let text = String::from_utf8(text).map_err(|_| ArchiveError::Syntax("text before its chunks"))?;
        let head = Head::parse(&text)?;
        let cipher = cipher(&head, passphrase)?;
        let mut opener =
            Self { from, head, text, cipher, number: 0, plain: Vec::new(), at: 0, ahead: None, ended: false };
        opener.ahead = opener.peek()?;
        opener.next().map_err(|_| SealedError::WrongPassphrase)?;
        Ok(opener)
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        Ok((self.from.read(&mut byte)? == 1).then_some(byte[0]))
    }

    fn next(&mut self) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the archive is damaged or cut short");
        let mut sealed = vec![self.ahead.take().ok_or_else(damaged)?];
        self.from.by_ref().take((CHUNK_BYTES + TAG_BYTES - 1) as u64).read_to_end(&mut sealed)?;
        self.ahead = self.peek()?;
        self.ended = self.ahead.is_none();
        let payload = Payload { msg: &sealed, aad: self.text.as_bytes() };
        let nonce = self.head.nonce(self.number, self.ended);
        self.plain = self.cipher.decrypt(&nonce.into(), payload).map_err(|_| damaged())?;
        self.at = 0;
        self.number = self.number.checked_add(1).ok_or_else(damaged)?;
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() && !self.ended {
            self.next()?;
        }
        let taken = into.len().min(self.plain.len() - self.at);
        into[..taken].copy_from_slice(&self.plain[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// Writes the head of a tar member; its bytes and [`pad`] follow.
///
/// # Errors
/// When the path is too long, and the disk's.
pub fn member(out: &mut impl Write, path: &str, size_bytes: u64) -> io::Result<()> {
    let split = if path.len() <= 100 { Some(("", path)) } else { split(path) };
    let (prefix, name) = split.ok_or_else(|| io::Error::other(format!("{path} is too long for an archive")))?;
    let mut head = [0_u8; BLOCK];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..108].copy_from_slice(b"0000600\0");
    head[108..116].copy_from_slice(b"0000000\0");
    head[116..124].copy_from_slice(b"0000000\0");
    if size_bytes < 1 << 33 {
        head[124..136].copy_from_slice(format!("{size_bytes:011o}\0").as_bytes());
    } else {
        // The number in binary behind a set bit, as tar programs have agreed on for large files.
        head[124] = 0x80;
        head[128..136].copy_from_slice(&size_bytes.to_be_bytes());
    }
    head[136..148].copy_from_slice(b"00000000000\0");
    head[148..156].copy_from_slice(b"        ");
    head[156] = b'0';
    head[257..265].copy_from_slice(b"ustar\x0000");
    head[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    let sum = head.iter().map(|b| u32::from(*b)).sum::<u32>();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&head)
}

fn split(path: &str) -> Option<(&str, &str)> {
    path.match_indices('/')
        .map(|(at, _)| (&path[..at], &path[at + 1..]))
        .find(|(a, b)| a.len() <= 155 && b.len() <= 100)
}

/// Fills up the last block of a member of `size_bytes`.
///
/// # Errors
/// The disk's.
pub fn pad(out: &mut impl Write, size_bytes: u64) -> io::Result<()> {
    out.write_all(&[0; BLOCK][..padding(size_bytes)])
}

fn padding(size_bytes: u64) -> usize {
    // Less than a block, so the cast keeps the value.
    ((BLOCK as u64 - size_bytes % BLOCK as u64) % BLOCK as u64) as usize
}

/// Ends a tar archive.
///
/// # Errors
/// The disk's.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// Reads a tar archive member by member.
pub struct Members<R: Read> {
    from: R,
    left: u64,
    padding: usize,
}

impl<R: Read> Members<R> {
    /// Begins with the first member.
    pub const fn new(from: R) -> Self {
        Self { from, left: 0, padding: 0 }
    }

    /// The path and size of the next member; what is left of the one before is skipped. None at the end.
    ///
    /// # Errors
    /// When the archive is no tar archive, or breaks off.
    pub fn next_member(&mut self) -> io::Result<Option<(String, u64)>> {
        let skip = self.left + self.padding as u64;
        if io::copy(&mut self.from.by_ref().take(skip), &mut io::sink())? != skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.left, self.padding) = (0, 0);
        let mut head = [0_u8; BLOCK];
        self.from.read_exact(&mut head)?;
        if head.iter().all(|b| *b == 0) {
            // To the very end: only there the envelope shows whether something was cut off.
            io::copy(&mut self.from, &mut io::sink())?;
            return Ok(None);
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not a tar archive");
        let text = |field: &[u8]| {
            let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
            String::from_utf8(field[..end].to_vec()).map_err(|_| wrong())
        };
        if &head[257..262] != b"ustar" || head[156] != b'0' {
            return Err(wrong());
        }
        let (name, prefix) = (text(&head[..100])?, text(&head[345..500])?);
        let size = if head[124] == 0x80 {
            u64::from_be_bytes(head[128..136].try_into().map_err(|_| wrong())?)
        } else {
            u64::from_str_radix(text(&head[124..136])?.trim(), 8).map_err(|_| wrong())?
        };
        (self.left, self.padding) = (size, padding(size));
        Ok(Some((if prefix.is_empty() { name } else { format!("{prefix}/{name}") }, size)))
    }
}

impl<R: Read> Read for Members<R> {
    /// The bytes of the member.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.from.read(&mut into[..most])?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}
