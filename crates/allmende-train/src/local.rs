//! One round on one node: from a base model to an update.

use std::ops::ControlFlow;

use allmende_core::run::plan::{ModelSpec, Training};
use burn_tensor::Device;

use crate::model::{Model, ModelError};
pub use crate::network::BackendError;
use crate::network::{Network, device, matrix};
use crate::optimize::Stepper;
use crate::stream::StreamKey;
use crate::table::Table;

/// Why a round produced no update.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrainError {
    /// The base model is not the plan's.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The table does not fit the model.
    #[error("the table has {found} {what}, the model expects {expected}")]
    Misfit {
        /// `features` or a class.
        what: &'static str,
        /// What the model expects.
        expected: usize,
        /// What the table has.
        found: usize,
    },
    /// There is nothing to train on.
    #[error("no rows to train on")]
    NoRows,
    /// A limit was passed.
    #[error("{found} {what}, more than the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What was asked for.
        found: u64,
    },
    /// The loss or a parameter is no longer finite.
    #[error("training diverged at step {step}: a smaller rate would help")]
    Diverged {
        /// The step, from 1.
        step: u64,
    },
    /// The caller asked to stop.
    #[error("training was cancelled")]
    Cancelled,
    /// The compute backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The outer step failed.
    #[error(transparent)]
    Aggregate(#[from] allmende_core::run::aggregate::AggregateError),
}

/// What one node does in one round.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// The network.
    pub spec: &'a ModelSpec,
    /// The local work.
    pub training: &'a Training,
    /// The rows to train on, already normalized.
    pub table: &'a Table,
    /// The model to start from: a safetensors file.
    pub base: &'a [u8],
    /// Decides the order of the rows.
    pub key: StreamKey,
}

/// Where a round stands, told after every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole round.
    pub steps: u64,
    /// Mean loss of the step's rows, before the step.
    pub loss: f64,
}

/// Called after every step; `Break` cancels.
pub type OnStep<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// What a round brought.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundOutcome {
    /// The update: the whole new model, a safetensors file.
    pub model: Vec<u8>,
    /// Mean loss of the first step's rows under the base model.
    pub loss_first: f64,
    /// Mean loss of the last step's rows, before that step.
    pub loss_last: f64,
    /// Steps done.
    pub steps: u64,
}

/// Trains one round. Each pass visits the rows in a new order, in batches that differ by at most one row, so that no row
/// of a short last batch weighs more than others.
///
/// # Errors
/// [`TrainError`]; nothing of the rows is in its text.
pub fn train_round(round: &Round<'_>, on_step: OnStep<'_>) -> Result<RoundOutcome, TrainError> {
    let Round { spec, training, table, base, key } = *round;
    let model = Model::load(spec, base)?;
    check_fit(spec, table)?;
    let device = device();
    let mut network = Network::of(&model, &device);
    let mut stepper = Stepper::new(&training.optimizer);
    let mut stream = key.open();
    let mut order: Vec<usize> = (0..table.rows()).collect();
    let batches = table.rows().div_ceil(training.batch_rows.max(1) as usize);
    let steps = batches as u64 * u64::from(training.epochs);
    let mut losses: Option<(f64, f64)> = None;
    let mut step = 0;
    for _ in 0..training.epochs {
        stream.shuffle(&mut order);
        for batch in 0..batches {
            step += 1;
            let rows = &order[batch * order.len() / batches..(batch + 1) * order.len() / batches];
            let (x, y) = gather(table, rows, spec, &device);
            let (loss, gradients) = network.gradients(x, y)?;
            if !loss.is_finite() {
                return Err(TrainError::Diverged { step });
            }
            stepper.begin_step();
            network.update(gradients, |i, parameter, gradient| stepper.change(i, parameter, gradient));
            losses = Some((losses.map_or(loss, |(first, _)| first), loss));
            if on_step(Progress { step, steps, loss }).is_break() {
                return Err(TrainError::Cancelled);
            }
        }
    }
    let values = network.into_values(&model)?;
    let trained = Model::from_values(spec, values).map_err(|e| match e {
        ModelError::NonFinite { .. } => TrainError::Diverged { step },
        other => other.into(),
    })?;
    let (loss_first, loss_last) = losses.ok_or(TrainError::NoRows)?;
    Ok(RoundOutcome { model: trained.save()?, loss_first, loss_last, steps: step })
}

/// Whether the table can be put through the model.
pub(crate) fn check_fit(spec: &ModelSpec, table: &Table) -> Result<(), TrainError> {
    let widths = spec.widths();
    let (inputs, classes) = (widths[0] as usize, widths[widths.len() - 1] as usize);
    if table.rows() == 0 {
        return Err(TrainError::NoRows);
    }
    if table.columns.len() != inputs {
        return Err(TrainError::Misfit { what: "features", expected: inputs, found: table.columns.len() });
    }
    if table.classes_seen() as usize > classes {
        return Err(TrainError::Misfit { what: "classes", expected: classes, found: table.classes_seen() as usize });
    }
    Ok(())
}

type Matrix = burn_tensor::Tensor<2>;

fn gather(table: &Table, rows: &[usize], spec: &ModelSpec, device: &Device) -> (Matrix, Matrix) {
    let widths = spec.widths();
    let (inputs, classes) = (widths[0] as usize, widths[widths.len() - 1] as usize);
    let mut features = Vec::with_capacity(rows.len() * inputs);
    let mut targets = vec![0.0; rows.len() * classes];
    for (i, &row) in rows.iter().enumerate() {
        features.extend_from_slice(table.row(row));
        targets[i * classes + table.labels[row] as usize] = 1.0;
    }
    (matrix(features, rows.len(), inputs, device), matrix(targets, rows.len(), classes, device))
}
