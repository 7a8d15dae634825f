//! How many parameters a model has, by type.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Layout;

/// What the files of a model hold together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Elements by the name of their type, such as `F32`.
    pub parameters: BTreeMap<String, u64>,
    /// How many tensors.
    pub tensors: u64,
    /// Bytes of all tensors.
    pub payload_bytes: u64,
}

impl Summary {
    /// Counts the tensors of a file.
    pub fn add(&mut self, layout: &Layout) {
        for tensor in &layout.tensors {
            self.count(tensor.dtype.as_str(), tensor.elements());
        }
        self.tensors = self.tensors.saturating_add(layout.tensors.len() as u64);
        self.payload_bytes = self.payload_bytes.saturating_add(layout.payload_bytes());
    }

    /// Counts what another summary counted.
    pub fn merge(&mut self, other: &Self) {
        for (dtype, elements) in &other.parameters {
            self.count(dtype, *elements);
        }
        self.tensors = self.tensors.saturating_add(other.tensors);
        self.payload_bytes = self.payload_bytes.saturating_add(other.payload_bytes);
    }

    fn count(&mut self, dtype: &str, elements: u64) {
        // A file may name more elements of no bytes than can be added up; nobody has so many.
        let count = self.parameters.entry(dtype.to_owned()).or_default();
        *count = count.saturating_add(elements);
    }

    /// All elements.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.parameters.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}
