//! What the owner of a node decides, in `node.toml`: which data it offers, when and for what it works, whom it trusts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use allmende_core::agreement::vocabulary::Purpose;
use allmende_core::digest::Digest;
use allmende_core::id::{AssetId, CollaborationId, Origin};
use allmende_core::signature::PublicKey;
use serde::{Deserialize, Serialize};

use super::data::Salt;
use crate::client::store::{StoreError, write_durably};

/// Name of the file in the node's folder.
pub const FILE: &str = "node.toml";
/// Largest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not as it should be.
    #[error("{path}: {reason}", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] StoreError),
}

/// A dataset that the node offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offered {
    /// The file, which stays where it is.
    pub path: PathBuf,
    /// Classes of its label.
    pub classes: u32,
    /// The secret salt. Losing it makes the dataset unusable, showing it makes the commitment guessable.
    pub salt: Salt,
    /// The commitment that was registered.
    pub commitment: Digest,
    /// The schema digest that was registered.
    pub schema: Digest,
}

/// Hours of the day, UTC, from the first up to but without the second; `22` to `6` spans midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// First hour, 0 to 23.
    pub from: u8,
    /// The hour at which it ends, 0 to 24.
    pub until: u8,
}

impl Hours {
    /// Whether `hour` lies within.
    #[must_use]
    pub const fn contains(self, hour: u8) -> bool {
        if self.from <= self.until {
            self.from <= hour && hour < self.until
        } else {
            hour >= self.from || hour < self.until
        }
    }
}

/// The owner's own policy: it can only narrow what the terms allow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Every run waits for the owner's answer.
    pub ask_first: bool,
    /// When the node works; always if not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours_utc: Option<Hours>,
    /// For what; anything the terms allow if empty.
    pub purposes: Vec<Purpose>,
    /// Most runs under way at once.
    pub max_runs: u32,
    /// Most rounds of a run.
    pub max_rounds: u32,
    /// Nothing begins while the machine's load over one minute is above this; not looked at if not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_load: Option<f64>,
    /// Pieces of work carried out at once.
    pub jobs: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ask_first: false,
            hours_utc: None,
            purposes: Vec::new(),
            max_runs: 4,
            max_rounds: allmende_core::run::plan::MAX_ROUNDS,
            max_load: None,
            jobs: 1,
        }
    }
}

/// A witness outside the collaboration whose word alone suffices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideWitness {
    /// The name under which it cosigns.
    pub name: Origin,
    /// Its key.
    pub key: PublicKey,
}

/// All settings of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How old a cosignature may be, in seconds.
    pub freshness_s: u64,
    /// How far the log's newest entry may be dated ahead of this machine's clock, in seconds.
    pub clock_skew_s: u64,
    /// How long the hub may keep a poll open, in seconds.
    pub wait_s: u32,
    /// The collaborations it serves; all that its party is a member of if empty.
    pub collaborations: Vec<CollaborationId>,
    /// What it works on, and when.
    pub policy: Policy,
    /// Witnesses outside.
    pub witness: Vec<OutsideWitness>,
    /// What it offers.
    pub dataset: BTreeMap<AssetId, Offered>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            freshness_s: 60,
            clock_skew_s: 300,
            wait_s: 20,
            collaborations: Vec::new(),
            policy: Policy::default(),
            witness: Vec::new(),
            dataset: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads the settings in the node's folder `dir`; the defaults where there are none.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn load(dir: &Path) -> Result<Self, SettingsError> {
        let path = dir.join(FILE);
        let read = |source| SettingsError::Read { path: path.clone(), source };
        let form = |reason: String| SettingsError::Form { path: path.clone(), reason };
        match std::fs::metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(read(source)),
            Ok(meta) if meta.len() > MAX_BYTES => return Err(form(format!("larger than {MAX_BYTES} bytes"))),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(read)?;
        let settings: Self = toml::from_str(&text).map_err(|e| form(e.to_string()))?;
        settings.validate().map_err(|reason| form(reason.to_owned()))?;
        Ok(settings)
    }

    /// Writes them, durably, readable by the owner only: they hold salts.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn save(&self, dir: &Path) -> Result<(), SettingsError> {
        let path = dir.join(FILE);
        let text = toml::to_string_pretty(self)
            .map_err(|e| SettingsError::Form { path: path.clone(), reason: e.to_string() })?;
        write_durably(&path, text.as_bytes())?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, private).map_err(|source| SettingsError::Read { path, source })
    }

    /// How far the hub's clock may be ahead, in milliseconds.
    #[must_use]
    pub fn clock_skew_ms(&self) -> i64 {
        i64::try_from(self.clock_skew_s).unwrap_or(i64::MAX).saturating_mul(1_000)
    }

    fn validate(&self) -> Result<(), &'static str> {
        if !(5..=86_400).contains(&self.freshness_s) {
            return Err("freshness_s is 5 to 86400");
        }
        if !(1..=86_400).contains(&self.clock_skew_s) {
            return Err("clock_skew_s is 1 to 86400");
        }
        if !(1..=30).contains(&self.wait_s) {
            return Err("wait_s is 1 to 30");
        }
        if self.policy.hours_utc.is_some_and(|h| h.from > 23 || h.until > 24) {
            return Err("hours_utc: from is 0 to 23, until 0 to 24");
        }
        if self.policy.jobs == 0 || self.policy.jobs > 64 {
            return Err("policy.jobs is 1 to 64");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_round_trip_and_hours_span_midnight() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::default();
        assert_eq!(Settings::load(dir.path()).expect("defaults"), settings);
        settings.policy.hours_utc = Some(Hours { from: 22, until: 6 });
        settings.policy.purposes = vec![Purpose::Research];
        let digest = Digest([7; 32]);
        let offered =
            Offered { path: "/d.csv".into(), classes: 3, salt: Salt([9; 32]), commitment: digest, schema: digest };
        settings.dataset.insert("north/digits".parse().expect("id"), offered);
        settings.save(dir.path()).expect("saved");
        assert_eq!(Settings::load(dir.path()).expect("read"), settings);
        let night = Hours { from: 22, until: 6 };
        assert!(night.contains(23) && night.contains(0) && !night.contains(6) && !night.contains(21));
        std::fs::write(dir.path().join(FILE), "surprise = 1").expect("written");
        assert!(matches!(Settings::load(dir.path()), Err(SettingsError::Form { .. })));
    }
}
