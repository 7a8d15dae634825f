//! What a model says of rows, and how right it is.

use allmende_core::run::plan::{ModelSpec, Normalization};
use serde::{Deserialize, Serialize};

use crate::local::{TrainError, check_fit};
use crate::metrics::{Confusion, MAX_CONFUSION_CLASSES};
use crate::model::Model;
use crate::network::{Network, device, matrix, values};
use crate::prepare::{PrepareError, normalize};
use crate::table::Table;

/// Rows that go through the network at once; bounds memory.
const CHUNK_ROWS: usize = 1_024;
/// Largest loss of one row, in millionths: a row that the model thinks impossible must not make the sum infinite.
const MAX_ROW_LOSS_MICROS: f64 = 100_000_000.0;

/// Why there are no predictions.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// The model or the table does not fit.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The rows cannot be normalized.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The numbers of a row are too large for the model.
    #[error("row {row} has no probabilities: its numbers overflow in the model")]
    Overflow {
        /// The row, from 0.
        row: usize,
    },
}

/// How right a model is on a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Rows by true and predicted class.
    pub confusion: Confusion,
    /// Cross-entropy summed over the rows, in millionths of a nat: whole numbers can be signed and added.
    pub loss_micros: u64,
}

impl Evaluation {
    /// Mean cross-entropy, for showing; `None` without rows.
    #[must_use]
    pub fn mean_loss(&self) -> Option<f64> {
        let total = self.confusion.total();
        (total > 0).then(|| self.loss_micros as f64 / 1e6 / total as f64)
    }
}

/// Logarithms of the probabilities, `classes` numbers for each row of normalized features.
fn log_probabilities(model: &Model, features: &[f32]) -> Result<Vec<f32>, TrainError> {
    let inputs = model.spec().widths()[0] as usize;
    let device = device();
    let network = Network::of(model, &device);
    let mut all = Vec::new();
    for chunk in features.chunks(CHUNK_ROWS * inputs) {
        let rows = matrix(chunk.to_vec(), chunk.len() / inputs, inputs, &device);
        all.extend(values(network.log_probabilities(rows))?);
    }
    Ok(all)
}

/// Probabilities of the classes for raw rows, as a served model gives them: `classes` numbers for each row.
///
/// # Errors
/// [`EvaluateError`] if the model is not the spec's, or the rows are not whole or not finite.
pub fn predict(
    spec: &ModelSpec,
    model: &[u8],
    normalization: &Normalization,
    rows: &[f32],
) -> Result<Vec<f32>, EvaluateError> {
    let model = Model::load(spec, model).map_err(TrainError::from)?;
    let mut features = rows.to_vec();
    normalize(&mut features, spec.widths()[0] as usize, normalization)?;
    let probabilities: Vec<f32> = log_probabilities(&model, &features)?.into_iter().map(f32::exp).collect();
    let classes = spec.widths().last().copied().unwrap_or(1).max(1) as usize;
    match probabilities.iter().position(|p| p.is_nan()) {
        Some(i) => Err(EvaluateError::Overflow { row: i / classes }),
        None => Ok(probabilities),
    }
}

/// Evaluates a model on a table that is already normalized. Of equally probable classes the smallest counts.
///
/// # Errors
/// [`TrainError`] if the model is not the spec's, or the table does not fit it.
pub fn evaluate(spec: &ModelSpec, model: &[u8], table: &Table) -> Result<Evaluation, TrainError> {
    let model = Model::load(spec, model)?;
    check_fit(spec, table)?;
    let widths = spec.widths();
    let classes = widths[widths.len() - 1];
    let limit = u64::from(MAX_CONFUSION_CLASSES);
    let mut confusion = Confusion::new(classes).map_err(|_| TrainError::Limit {
        what: "classes to evaluate",
        limit,
        found: u64::from(classes),
    })?;
    let mut loss_micros = 0_u64;
    let all = log_probabilities(&model, &table.features)?;
    for (row, &truth) in all.chunks_exact(classes as usize).zip(&table.labels) {
        let mut best = 0;
        for (class, p) in row.iter().enumerate() {
            if *p > row[best] {
                best = class;
            }
        }
        confusion.count(truth, best as u32);
        let micros = -1e6 * f64::from(row[truth as usize]);
        // A NaN is as wrong as can be; without this it would count as no loss at all.
        let micros = if micros.is_nan() { MAX_ROW_LOSS_MICROS } else { micros.clamp(0.0, MAX_ROW_LOSS_MICROS) };
        loss_micros = loss_micros.saturating_add(micros.round() as u64);
    }
    Ok(Evaluation { confusion, loss_micros })
}
