//! The index of a model in several files: JSON that says in which file each tensor lies.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::MAX_NAME_BYTES;

/// Largest index, in bytes.
pub const MAX_INDEX_BYTES: u64 = 16 << 20;
/// Most files of one model.
pub const MAX_SHARDS: usize = 1_000;

/// Why bytes are no index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It is longer than [`MAX_INDEX_BYTES`].
    #[error("the index has more than {MAX_INDEX_BYTES} bytes")]
    TooLong,
    /// It is not the JSON that it has to be.
    #[error("the index is not valid: {0}")]
    Json(String),
    /// It names a file that cannot be a shard.
    #[error("the index names {0:?}: shards lie beside the index and end with .safetensors")]
    File(String),
    /// It names more files than [`MAX_SHARDS`].
    #[error("the index names more than {MAX_SHARDS} files")]
    TooManyShards,
}

/// What an index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The files, each once, in ascending order.
    pub shards: Vec<String>,
    /// How many tensors it places.
    pub tensors: u64,
    /// Free-form facts, such as `total_size`; null if there are none.
    pub metadata: Value,
}

#[derive(Deserialize)]
struct File {
    weight_map: WeightMap,
    #[serde(default)]
    metadata: Value,
}

/// The map folded while it is read: its names are many, its files few.
struct WeightMap {
    shards: BTreeSet<String>,
    tensors: u64,
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Places;
        impl<'de> Visitor<'de> for Places {
            type Value = WeightMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of file names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut seen: BTreeSet<String> = BTreeSet::new();
                let mut found = WeightMap { shards: BTreeSet::new(), tensors: 0 };
                while let Some((name, file)) = map.next_entry::<String, String>()? {
                    if name.len() > MAX_NAME_BYTES {
                        return Err(A::Error::custom("the name of a tensor is too long"));
                    }
                    if !seen.insert(name) {
                        return Err(A::Error::custom("a tensor appears twice"));
                    }
                    found.tensors += 1;
                    // One more than fits is enough to know that there are too many.
                    if found.shards.len() <= MAX_SHARDS {
                        found.shards.insert(file);
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(Places)
    }
}

/// Reads an index.
///
/// # Errors
/// [`IndexError`].
pub fn parse_index(bytes: &[u8]) -> Result<Index, IndexError> {
    if bytes.len() as u64 > MAX_INDEX_BYTES {
        return Err(IndexError::TooLong);
    }
    let file: File = serde_json::from_slice(bytes).map_err(|e| IndexError::Json(e.to_string()))?;
    let WeightMap { shards, tensors } = file.weight_map;
    if shards.len() > MAX_SHARDS {
        return Err(IndexError::TooManyShards);
    }
    let beside = |name: &str| name.ends_with(".safetensors") && name.len() <= 255 && !name.contains(['/', '\\', '\0']);
    if let Some(bad) = shards.iter().find(|name| !beside(name)) {
        return Err(IndexError::File(bad.chars().take(200).collect()));
    }
    Ok(Index { shards: shards.into_iter().collect(), tensors, metadata: file.metadata })
}
