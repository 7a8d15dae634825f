//! How the value of a setting is read from text and written back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::SETTINGS;

/// A type that a setting can have.
pub trait Value: Sized {
    /// The kind, for people.
    const KIND: &'static str;

    /// Reads text.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    fn parse(text: &str) -> Result<Self, String>;

    /// Writes the text that [`Value::parse`] reads, or stars for a secret.
    fn render(&self) -> String;
}

macro_rules! value_by_from_str {
    ($($type:ty: $kind:literal),+) => {$(
        impl Value for $type {
            const KIND: &'static str = $kind;
            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| format!("{text:?} is not {}", $kind))
            }
            fn render(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

value_by_from_str!(u32: "a whole number", bool: "true or false", SocketAddr: "an address and port");

impl Value for u64 {
    const KIND: &'static str = "a whole number";
    fn parse(text: &str) -> Result<Self, String> {
        // Everything lands in 64-bit signed columns and intervals at some point.
        let number: Self = text.trim().parse().map_err(|_| format!("{text:?} is not a whole number"))?;
        if number > i64::MAX as Self { Err(format!("{number} is too large")) } else { Ok(number) }
    }
    fn render(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn render(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "a path";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
    fn render(&self) -> String {
        self.display().to_string()
    }
}

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render())
    }
}

impl Value for Secret {
    const KIND: &'static str = "a secret";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
    /// Stars, unlike the other kinds: what is rendered is shown.
    fn render(&self) -> String {
        if self.is_empty() { String::new() } else { "***".to_owned() }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }
        impl Value for $name {
            const KIND: &'static str = $kind;
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is not one of {}", $kind)),
                }
            }
            fn render(&self) -> String {
                match self {
                    $(Self::$variant => $word,)+
                }.to_owned()
            }
        }
    };
}

words!(
    /// How the hub's connections are protected.
    TlsMode, "auto, off, self-signed, files" {
        /// Off on loopback, self-signed elsewhere.
        Auto = "auto",
        /// Plain HTTP, on loopback only.
        Off = "off",
        /// A certificate made at first start, which clients pin.
        SelfSigned = "self-signed",
        /// Certificate and key from files.
        Files = "files",
    }
);

words!(
    /// Who may register a party.
    RegistrationMode, "auto, open, invited" {
        /// Open on loopback, invited elsewhere.
        Auto = "auto",
        /// Whoever reaches the hub.
        Open = "open",
        /// Whoever has a code of the operator.
        Invited = "invited",
    }
);

words!(
    /// The form of log lines.
    LogFormat, "text, json" {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
);

/// Blanks the password of a URL.
pub(super) fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}{}", &rest[authority.len()..])
        }
        _ => text.to_owned(),
    }
}

/// The known key nearest to `key`, when it is near enough to be a slip.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|s| (edit_distance(key, s.key), s.key))
        .min()
        .filter(|&(distance, known)| distance <= 2 + known.len() / 6)
        .map(|(_, known)| known)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A path as it stands in a URL.
pub(super) fn percent_encode_path(path: &Path) -> String {
    use std::fmt::Write as _;
    path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}
