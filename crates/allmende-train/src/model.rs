//! Parameters: their initial values, their one file format, and what can be said about them.

use std::fmt::Write as _;

use allmende_core::run::plan::{MAX_MODEL_BYTES, ModelSpec, Seed};
use allmende_formats::safetensors;
use serde::{Deserialize, Serialize};

use crate::stream::StreamKey;

/// Why bytes are not the model that a plan describes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The description cannot be a model.
    #[error("the model is not acceptable: {0}")]
    Spec(String),
    /// The file is not a safetensors file.
    #[error("the model file is not valid: {0}")]
    File(#[from] safetensors::Error),
    /// The file holds other tensors, or is not in its canonical form.
    #[error("the model file does not hold exactly the tensors of the plan: {0}")]
    Layout(String),
    /// A parameter is not finite.
    #[error("tensor {tensor} holds a value that is not finite, at index {index}")]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Index within the tensor.
        index: usize,
    },
}

/// A model: what it is, and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    spec: ModelSpec,
    values: Vec<f32>,
}

/// Where the parameters of one dense layer stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerPlace {
    pub fan_in: usize,
    pub fan_out: usize,
    /// First value of the weight, `[fan_in, fan_out]`.
    pub weight: usize,
    /// First value of the bias.
    pub bias: usize,
}

/// Where each layer's parameters stand among the values, which follow the file: tensors sorted by name.
pub(crate) fn places(spec: &ModelSpec) -> Vec<LayerPlace> {
    let mut starts = std::collections::BTreeMap::new();
    let mut start = 0;
    for (name, shape) in spec.tensors() {
        starts.insert(name, start);
        start += shape.iter().product::<usize>();
    }
    let at = |name: String| starts.get(&name).copied().unwrap_or(0);
    let widths = spec.widths();
    let place = |(i, pair): (usize, &[u32])| LayerPlace {
        fan_in: pair[0] as usize,
        fan_out: pair[1] as usize,
        weight: at(format!("layers.{i}.weight")),
        bias: at(format!("layers.{i}.bias")),
    };
    widths.windows(2).enumerate().map(place).collect()
}

/// The file of the initial model: the same bytes on every machine, so that every node can derive its digest.
///
/// # Errors
/// [`ModelError::Spec`] if a width is 0 or the model is too large.
pub fn initial_model(spec: &ModelSpec, seed: Seed) -> Result<Vec<u8>, ModelError> {
    Model::initial(spec, seed)?.save()
}

impl Model {
    /// Initial parameters, uniform within ±1/√fan_in as in PyTorch, drawn tensor after tensor in the order of the file.
    ///
    /// Portable: ChaCha, and only operations that IEEE 754 rounds correctly (√ is one of them).
    ///
    /// # Errors
    /// [`ModelError::Spec`] if a width is 0 or the model is too large.
    pub fn initial(spec: &ModelSpec, seed: Seed) -> Result<Self, ModelError> {
        check_spec(spec)?;
        let widths = spec.widths();
        let mut stream = StreamKey::initial(seed).open();
        let mut values = Vec::new();
        for (name, shape) in spec.tensors() {
            let layer = name.split('.').nth(1).and_then(|i| i.parse::<usize>().ok()).unwrap_or(0);
            let bound = 1.0 / f64::from(widths[layer]).sqrt();
            values.extend((0..shape.iter().product()).map(|_| (bound * (2.0 * stream.unit() - 1.0)) as f32));
        }
        Ok(Self { spec: spec.clone(), values })
    }

    /// A model of these parameters, in the order of the file.
    ///
    /// # Errors
    /// [`ModelError`] if their number does not fit `spec`, or one is not finite.
    pub fn from_values(spec: &ModelSpec, values: Vec<f32>) -> Result<Self, ModelError> {
        check_spec(spec)?;
        if values.len() as u64 != spec.parameters() {
            return Err(ModelError::Layout(format!("{} values for {} parameters", values.len(), spec.parameters())));
        }
        if let Some(mut index) = values.iter().position(|v| !v.is_finite()) {
            for (tensor, shape) in spec.tensors() {
                let count: usize = shape.iter().product();
                if index < count {
                    return Err(ModelError::NonFinite { tensor, index });
                }
                index -= count;
            }
        }
        Ok(Self { spec: spec.clone(), values })
    }

    /// Reads a file. Only the canonical one is accepted: these tensors, no metadata, no other spelling of the header.
    ///
    /// # Errors
    /// [`ModelError`] says what differs.
    pub fn load(spec: &ModelSpec, bytes: &[u8]) -> Result<Self, ModelError> {
        check_spec(spec)?;
        let header = safetensors::canonical_header(&spec.tensors())?;
        let Some(payload) = bytes.strip_prefix(header.as_slice()) else {
            let layout = safetensors::parse_header(bytes, bytes.len() as u64)?;
            return Err(ModelError::Layout(difference(spec, &layout)));
        };
        let expected = spec.parameters() * 4;
        if payload.len() as u64 != expected {
            return Err(ModelError::Layout(format!("the payload has {} bytes, expected {expected}", payload.len())));
        }
        let (values, _) = payload.as_chunks::<4>();
        Self::from_values(spec, values.iter().map(|&v| f32::from_le_bytes(v)).collect())
    }

    /// The file.
    ///
    /// # Errors
    /// [`ModelError::File`] cannot happen for a spec that was accepted.
    pub fn save(&self) -> Result<Vec<u8>, ModelError> {
        Ok(safetensors::write_f32(&self.spec.tensors(), &self.values)?)
    }

    /// What the model is.
    #[must_use]
    pub const fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The parameters, in the order of the file.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

fn check_spec(spec: &ModelSpec) -> Result<(), ModelError> {
    let widths = spec.widths();
    if widths.contains(&0) {
        return Err(ModelError::Spec("every layer has at least one unit".into()));
    }
    let bytes = spec.parameters().saturating_mul(4);
    if bytes > MAX_MODEL_BYTES {
        return Err(ModelError::Spec(format!("{bytes} bytes of parameters, more than {MAX_MODEL_BYTES}")));
    }
    Ok(())
}

fn difference(spec: &ModelSpec, layout: &safetensors::Layout) -> String {
    let expected = spec.tensors();
    for (name, shape) in &expected {
        let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        match layout.tensors.iter().find(|t| &t.name == name) {
            None => return format!("{name} is missing"),
            Some(t) if t.shape != shape => return format!("{name} has shape {:?}, expected {shape:?}", t.shape),
            Some(t) if t.dtype != safetensors::Dtype::F32 => {
                return format!("{name} is {}, expected F32", t.dtype.as_str());
            }
            Some(_) => {}
        }
    }
    if let Some(t) = layout.tensors.iter().find(|t| expected.iter().all(|(name, _)| name != &t.name)) {
        return format!("{} does not belong to the model", t.name);
    }
    if layout.metadata.is_empty() {
        "the header is not in its canonical form".to_owned()
    } else {
        "a model carries no metadata".to_owned()
    }
}

/// What a reader wants to know of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// `linear` or `mlp`.
    pub kind: String,
    /// Its layers.
    pub layers: Vec<LayerSummary>,
    /// Number of trained parameters.
    pub parameters: u64,
    /// Bytes of its file.
    pub file_bytes: u64,
}

/// One dense layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSummary {
    /// Its name in the file.
    pub name: String,
    /// Numbers in.
    pub inputs: u32,
    /// Numbers out.
    pub outputs: u32,
    /// `relu` or `softmax`.
    pub activation: String,
    /// Number of trained parameters.
    pub parameters: u64,
}

/// Describes a model before it exists.
///
/// # Errors
/// [`ModelError::Spec`] if it cannot exist.
pub fn summary(spec: &ModelSpec) -> Result<Summary, ModelError> {
    check_spec(spec)?;
    let widths = spec.widths();
    let last = widths.len().saturating_sub(2);
    let layer = |(i, pair): (usize, &[u32])| LayerSummary {
        name: format!("layers.{i}"),
        inputs: pair[0],
        outputs: pair[1],
        activation: if i == last { "softmax" } else { "relu" }.to_owned(),
        parameters: u64::from(pair[0]) * u64::from(pair[1]) + u64::from(pair[1]),
    };
    let parameters = spec.parameters();
    Ok(Summary {
        kind: match spec {
            ModelSpec::Linear { .. } => "linear".to_owned(),
            ModelSpec::Mlp { .. } => "mlp".to_owned(),
        },
        layers: widths.windows(2).enumerate().map(layer).collect(),
        parameters,
        file_bytes: safetensors::canonical_header(&spec.tensors())?.len() as u64 + parameters * 4,
    })
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        writeln!(text, "{:<12} {:>8} {:>8}  {:<10} {:>12}", "layer", "inputs", "outputs", "activation", "parameters")?;
        for l in &self.layers {
            let LayerSummary { name, inputs, outputs, activation, parameters } = l;
            writeln!(text, "{name:<12} {inputs:>8} {outputs:>8}  {activation:<10} {parameters:>12}")?;
        }
        write!(text, "{}: {} parameters, {} bytes", self.kind, self.parameters, self.file_bytes)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spec() -> ModelSpec {
        ModelSpec::Mlp { inputs: 4, hidden: vec![3], classes: 2 }
    }

    #[test]
    fn the_initial_model_is_a_function_of_spec_and_seed() {
        let bytes = initial_model(&spec(), Seed(7)).unwrap();
        assert_eq!(bytes, initial_model(&spec(), Seed(7)).unwrap());
        assert_ne!(bytes, initial_model(&spec(), Seed(8)).unwrap());
        let model = Model::load(&spec(), &bytes).unwrap();
        assert_eq!(model.save().unwrap(), bytes);
        // The tensors in order: bias 0 and weight 0 (fan-in 4), then bias 1 and weight 1 (fan-in 3).
        let (first, second) = model.values().split_at(15);
        assert!(first.iter().all(|v| v.abs() <= 0.5) && first.iter().any(|v| v.abs() > 0.4));
        assert!(second.iter().all(|v| v.abs() <= 0.577_36));
        assert_eq!(allmende_core::digest::Digest::of(&bytes).short(), GOLDEN, "golden: nodes derive this digest");
    }

    const GOLDEN: &str = "9d07d09d2025";

    #[test]
    fn only_the_exact_file_is_loaded() {
        let good = initial_model(&spec(), Seed(7)).unwrap();
        let check = |bytes: &[u8], wanted: &str| {
            let message = Model::load(&spec(), bytes).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        };
        check(&good[..good.len() - 1], "the payload has");
        check(&[&good[..], &[0; 4]].concat(), "the payload has");
        check(b"", "ends inside its header");
        check(
            &initial_model(&ModelSpec::Linear { inputs: 4, classes: 2 }, Seed(7)).unwrap(),
            "layers.0.bias has shape",
        );
        let other = ModelSpec::Mlp { inputs: 4, hidden: vec![3, 2], classes: 2 };
        check(&initial_model(&other, Seed(7)).unwrap(), "layers.2.bias does not belong to the model");
        let mut bad = good.clone();
        let at = bad.len() - 4;
        bad[at..].copy_from_slice(&f32::NAN.to_le_bytes());
        check(&bad, "tensor layers.1.weight holds a value that is not finite, at index 5");
        // The same tensors with metadata: a place to hide a clock or a name.
        let header = safetensors::canonical_header(&spec().tensors()).unwrap();
        let json = String::from_utf8(header[8..].to_vec()).unwrap();
        let json = json.replacen('{', r#"{"__metadata__":{"when":"now"},"#, 1);
        let mut bad = (json.len() as u64).to_le_bytes().to_vec();
        bad.extend_from_slice(json.as_bytes());
        bad.extend_from_slice(&good[header.len()..]);
        check(&bad, "no metadata");
    }

    #[test]
    fn a_summary_adds_up() {
        let summary = summary(&spec()).unwrap();
        assert_eq!(summary.parameters, 4 * 3 + 3 + 3 * 2 + 2);
        assert_eq!(summary.file_bytes, initial_model(&spec(), Seed(1)).unwrap().len() as u64);
        assert!(summary.to_string().contains("layers.1            3        2  softmax"), "{summary}");
        assert!(super::summary(&ModelSpec::Linear { inputs: 0, classes: 2 }).is_err());
    }
}
