//! What an update holds, for its owner to look at before it leaves: layers, shapes, and how far each moved.

use allmende_core::run::plan::ModelSpec;
use allmende_train::model::{Model, ModelError};
use serde::{Deserialize, Serialize};

/// One tensor of an update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Euclidean norm of its values.
    pub norm: f64,
    /// Euclidean norm of the difference to the base model.
    pub change: f64,
}

/// An update in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// Its tensors, in the order of the file.
    pub layers: Vec<Layer>,
    /// Numbers in it.
    pub parameters: u64,
    /// Euclidean norm of the whole difference to the base model.
    pub change: f64,
}

impl Preview {
    /// Looks at the update `update`, which was trained from `base`.
    ///
    /// # Errors
    /// [`ModelError`] when one of them is not a model of `spec`.
    pub fn of(spec: &ModelSpec, base: &[u8], update: &[u8]) -> Result<Self, ModelError> {
        let (base, update) = (Model::load(spec, base)?, Model::load(spec, update)?);
        let (mut before, mut after) = (base.values(), update.values());
        let mut layers = Vec::new();
        let mut whole = 0.0;
        for (name, shape) in spec.tensors() {
            let count: usize = shape.iter().product();
            let (b, a) = (&before[..count.min(before.len())], &after[..count.min(after.len())]);
            let square = |x: f64| x * x;
            let norm: f64 = a.iter().map(|&x| square(f64::from(x))).sum();
            let change: f64 = a.iter().zip(b).map(|(&x, &y)| square(f64::from(x) - f64::from(y))).sum();
            whole += change;
            layers.push(Layer { name, shape, norm: norm.sqrt(), change: change.sqrt() });
            (before, after) = (&before[b.len()..], &after[a.len()..]);
        }
        Ok(Self { layers, parameters: spec.parameters(), change: f64::sqrt(whole) })
    }
}
