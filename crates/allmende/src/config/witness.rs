//! The setting that names witnesses outside.

use allmende_core::digest::Digest;
use allmende_core::ledger::verifier::{Role, VerifierKey};

use super::Value;

/// Most witnesses of one hub.
const MAX_WITNESSES: usize = 16;

/// A witness outside, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The key by which its cosignatures are verified.
    pub key: VerifierKey,
    /// Its submission prefix.
    pub url: String,
    /// The pin of its self-made certificate, if it has one.
    pub pin: Option<Digest>,
}

/// The witnesses of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Witnesses(pub Vec<Witness>);

impl Witness {
    fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(key), Some(url)) = (words.next(), words.next()) else {
            return Err(format!("{text:?} is not VKEY URL"));
        };
        let key: VerifierKey = key.parse().map_err(|e| format!("{key:?}: {e}"))?;
        if key.role != Role::Witness {
            return Err(format!("{} is the key of a log, not of a witness: see 'allmende witness key'", key.name));
        }
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(format!("{url:?} is no URL: write https://host:port"));
        }
        let pin = words.next().map(|pin| pin.parse().map_err(|_| format!("{pin:?} is no pin: write sha256:…")));
        match words.next() {
            None => Ok(Self { key, url: url.trim_end_matches('/').to_owned(), pin: pin.transpose()? }),
            Some(more) => Err(format!("{more:?} after the witness at {url}: a comma separates witnesses")),
        }
    }

    fn render(&self) -> String {
        let pin = self.pin.map_or(String::new(), |pin| format!(" {pin}"));
        format!("{} {}{pin}", self.key, self.url)
    }
}

impl Value for Witnesses {
    const KIND: &'static str = "VKEY URL, …";

    fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').filter(|item| !item.trim().is_empty());
        let witnesses: Vec<Witness> = items.map(Witness::parse).collect::<Result<_, _>>()?;
        if witnesses.len() > MAX_WITNESSES {
            return Err(format!("at most {MAX_WITNESSES} witnesses"));
        }
        let twice = |(at, witness): (usize, &Witness)| witnesses[..at].iter().any(|w| w.key.key == witness.key.key);
        if witnesses.iter().enumerate().any(twice) {
            return Err("a witness's key stands there twice".to_owned());
        }
        Ok(Self(witnesses))
    }

    fn render(&self) -> String {
        self.0.iter().map(Witness::render).collect::<Vec<_>>().join(", ")
    }
}
