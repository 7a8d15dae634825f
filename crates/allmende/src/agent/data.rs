//! A member's dataset, prepared on the member's own machine. Nothing here leaves but counts, a schema and a salted
//! commitment.

use std::path::{Path, PathBuf};

use allmende_core::canonical;
use allmende_core::digest::{Digest, Hasher, from_hex, to_hex};
use allmende_train::prepare::{deduplicate, split};
use allmende_train::table::{Schema, Table, TableError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a dataset is refused for. These texts may name rows and columns: they stay on this machine.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be opened.
    #[error("{path}: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no table.
    #[error("{path}: {source}", path = path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TableError,
    },
    /// The schema holds a name that cannot be signed.
    #[error("the schema cannot be written: {0}")]
    Schema(#[from] canonical::Error),
    /// Nothing would be left to train on or to evaluate with.
    #[error("{rows} rows are too few: some train and some are held out")]
    TooFew {
        /// Rows after duplicates were removed.
        rows: usize,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness,
}

/// The secret salt of a dataset: decides which rows are held out, and keeps the commitment from being guessed.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

impl Salt {
    /// A fresh salt.
    ///
    /// # Errors
    /// [`DataError::Randomness`].
    pub fn fresh() -> Result<Self, DataError> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|_| DataError::Randomness)?;
        Ok(Self(salt))
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text).map(Self).ok_or_else(|| serde::de::Error::custom("a salt is 64 lower-case hexadecimal digits"))
    }
}

/// A dataset, ready for work.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Rows that train.
    pub train: Table,
    /// Rows that only evaluate.
    pub held_out: Table,
    /// What may be said of it.
    pub schema: Schema,
    /// Digest of the schema's canonical JSON.
    pub schema_digest: Digest,
    /// Binds the owner to rows and salt.
    pub commitment: Digest,
    /// Rows that were exactly like an earlier one, and so were left out.
    pub duplicates: usize,
    /// Pairs of rows with equal features and different labels; both were kept.
    pub conflicts: usize,
}

/// Reads and prepares the dataset in the file at `path`, whose label takes `classes` classes.
///
/// # Errors
/// [`DataError`].
pub fn load(path: &Path, classes: u32, salt: &Salt) -> Result<Dataset, DataError> {
    let file = std::fs::File::open(path).map_err(|source| DataError::Open { path: path.into(), source })?;
    let table = Table::read(file, classes).map_err(|source| DataError::Table { path: path.into(), source })?;
    prepare(&table, classes, salt)
}

/// Prepares a table: duplicates out, a part held out as the salt says, committed.
///
/// # Errors
/// [`DataError::TooFew`] or [`DataError::Schema`].
pub fn prepare(table: &Table, classes: u32, salt: &Salt) -> Result<Dataset, DataError> {
    let (rows, report) = deduplicate(table);
    let parts = split(&rows, &salt.0);
    if parts.train.is_empty() || parts.held_out.is_empty() {
        return Err(DataError::TooFew { rows: rows.rows() });
    }
    let schema = rows.schema(classes);
    let schema_digest = Digest::of(&canonical::to_bytes(&schema)?);
    let commitment = Digest::of_parts(&[b"allmende commitment v1", &salt.0, &rows_digest(&rows, &schema_digest).0]);
    Ok(Dataset {
        train: rows.select(&parts.train),
        held_out: rows.select(&parts.held_out),
        schema,
        schema_digest,
        commitment,
        duplicates: report.repeats.len(),
        conflicts: report.conflicts.len(),
    })
}

/// The digest of prepared rows: of their schema, their number, and the bits of every value in order, little-endian.
fn rows_digest(table: &Table, schema: &Digest) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(b"allmende rows v1\n");
    hasher.update(&schema.0);
    hasher.update(&(table.rows() as u64).to_le_bytes());
    for (i, label) in table.labels.iter().enumerate() {
        for value in table.row(i) {
            hasher.update(&value.to_bits().to_le_bytes());
        }
        hasher.update(&label.to_le_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize) -> Table {
        let text: String = (0..rows).map(|i| format!("{}.5,{}\n", i, i % 2)).collect();
        Table::read(format!("x,label\n{text}0.5,0\n").as_bytes(), 2).expect("a table")
    }

    #[test]
    fn the_commitment_binds_rows_and_salt() {
        let (a, b) = (Salt([1; 32]), Salt([2; 32]));
        let one = prepare(&table(20), 2, &a).expect("enough rows");
        assert_eq!((one.train.rows(), one.held_out.rows(), one.duplicates), (16, 4, 1));
        assert_eq!(prepare(&table(20), 2, &a).expect("same").commitment, one.commitment);
        assert_ne!(prepare(&table(20), 2, &b).expect("salt").commitment, one.commitment);
        assert_ne!(prepare(&table(21), 2, &a).expect("rows").commitment, one.commitment);
        assert!(matches!(prepare(&table(1), 2, &a), Err(DataError::TooFew { rows: 1 })));
        assert_eq!(format!("{a:?}"), "Salt(..)");
    }
}
