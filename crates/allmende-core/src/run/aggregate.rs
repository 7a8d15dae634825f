//! From the members' updates to the next model: a weighted mean, then the outer step.
//!
//! Every number is a function of the inputs alone: only `+ − × ÷` on IEEE doubles, in the order of the slots, so hub,
//! member and verifier get the same bytes on every machine. Memory is one slice, never members × model: the caller reads
//! the same slice of every update, one after the other, and folds it in.

use super::plan::Outer;

/// Largest weight of one update, in rows. A 29-bit weight times the 24-bit significand of a `f32` is exact in a `f64`.
pub const MAX_WEIGHT: u64 = (1 << 29) - 1;

/// Why updates cannot be aggregated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// An update holds an infinity or a NaN.
    #[error("update {update} holds a value that is not finite, at index {index}")]
    NonFinite {
        /// Which update, in folding order.
        update: usize,
        /// Index of the value in the whole payload.
        index: u64,
    },
    /// The base model or the velocity holds an infinity or a NaN.
    #[error("the {what} holds a value that is not finite, at index {index}")]
    NonFiniteState {
        /// `base model` or `velocity`.
        what: &'static str,
        /// Index of the value in the whole payload.
        index: u64,
    },
    /// The outer step left the range of `f32`.
    #[error("the outer step overflows at index {index}: a smaller outer rate or momentum would help")]
    Overflow {
        /// Index of the value in the whole payload.
        index: u64,
    },
    /// Two slices that belong together differ in length.
    #[error("the {what} has {found} values where {expected} were expected")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Values expected.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A payload is not a whole number of `f32` values.
    #[error("the {what} has {bytes} bytes, which is not a whole number of 4-byte values")]
    Ragged {
        /// Which slice.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },
    /// A weight is 0 or above [`MAX_WEIGHT`].
    #[error("update {update} has weight {weight}: a weight is 1 to {MAX_WEIGHT} rows")]
    Weight {
        /// Which update, in folding order.
        update: usize,
        /// Its weight.
        weight: u64,
    },
    /// There is nothing to average.
    #[error("no update to aggregate")]
    Empty,
    /// The caller folded too few or too many updates into a slice.
    #[error("{folded} of {expected} updates were folded into this slice")]
    Order {
        /// Updates folded.
        folded: usize,
        /// Updates expected.
        expected: usize,
    },
}

/// Adds `weight × update` to `acc`.
///
/// # Errors
/// [`AggregateError::NonFinite`] names the index within this slice, with update 0; [`AggregateError::Length`].
pub fn fold(acc: &mut [f64], update: &[f32], weight: u64) -> Result<(), AggregateError> {
    same_length("update", acc.len(), update.len())?;
    // Exact: MAX_WEIGHT is far below 2^53.
    let weight = weight as f64;
    for (i, (sum, &value)) in acc.iter_mut().zip(update).enumerate() {
        if !value.is_finite() {
            return Err(AggregateError::NonFinite { update: 0, index: i as u64 });
        }
        *sum += weight * f64::from(value);
    }
    Ok(())
}

/// The weighted mean from the sums.
///
/// # Errors
/// [`AggregateError::Empty`] if the total weight is 0.
pub fn finish(acc: &[f64], total_weight: u64) -> Result<Vec<f64>, AggregateError> {
    if total_weight == 0 {
        return Err(AggregateError::Empty);
    }
    let total = total_weight as f64;
    Ok(acc.iter().map(|sum| sum / total).collect())
}

/// The next model from the base model and the mean of the updates.
///
/// Under [`Outer::Average`] it is the mean. Under [`Outer::Nesterov`], with Δ = mean − base:
/// `v ← μ·v + Δ`, `next = base + rate·(μ·v + Δ)`. The velocity is rounded to `f32` first, because that is what is kept for
/// the next round. `velocity` is all zeros before the first round and may be empty under `Average`.
///
/// # Errors
/// [`AggregateError`] if lengths differ or a value is not finite.
pub fn outer_step(outer: &Outer, base: &[f32], mean: &[f64], velocity: &mut [f32]) -> Result<Vec<f32>, AggregateError> {
    same_length("mean", base.len(), mean.len())?;
    let mut next = Vec::with_capacity(base.len());
    match outer {
        Outer::Average => next.extend(mean.iter().map(|&m| m as f32)),
        Outer::Nesterov { rate, momentum } => {
            same_length("velocity", base.len(), velocity.len())?;
            let (rate, momentum) = (rate.to_f64(), momentum.to_f64());
            for ((&base, &mean), v) in base.iter().zip(mean).zip(velocity.iter_mut()) {
                let base = f64::from(base);
                let change = mean - base;
                *v = (momentum * f64::from(*v) + change) as f32;
                next.push((base + rate * (momentum * f64::from(*v) + change)) as f32);
            }
            if let Some(i) = velocity.iter().position(|v| !v.is_finite()) {
                return Err(AggregateError::Overflow { index: i as u64 });
            }
        }
    }
    match next.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(AggregateError::Overflow { index: i as u64 }),
        None => Ok(next),
    }
}

fn same_length(what: &'static str, expected: usize, found: usize) -> Result<(), AggregateError> {
    if expected == found { Ok(()) } else { Err(AggregateError::Length { what, expected, found }) }
}

/// One slice of the next model and of the velocity, as little-endian bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextSlice {
    /// The next model.
    pub model: Vec<u8>,
    /// The velocity to keep for the next round; empty under [`Outer::Average`].
    pub velocity: Vec<u8>,
}

/// Aggregates payloads (the bytes after a safetensors header) slice by slice.
///
/// For each slice: [`begin`](Self::begin) with the base model's bytes, [`fold`](Self::fold) once per update in the order
/// of the weights, [`finish`](Self::finish) with the velocity's bytes. The slices may be of any whole number of values:
/// the result does not depend on where they are cut.
#[derive(Debug)]
pub struct SliceAggregator {
    outer: Outer,
    weights: Vec<u64>,
    total_weight: u64,
    first_index: u64,
    base: Vec<f32>,
    acc: Vec<f64>,
    update: Vec<f32>,
    folded: usize,
}

impl SliceAggregator {
    /// Starts with the weights of the updates, in folding order.
    ///
    /// # Errors
    /// [`AggregateError::Empty`] or [`AggregateError::Weight`].
    pub fn new(outer: &Outer, weights: &[u64]) -> Result<Self, AggregateError> {
        let mut total_weight = 0_u64;
        for (update, &weight) in weights.iter().enumerate() {
            if weight == 0 || weight > MAX_WEIGHT {
                return Err(AggregateError::Weight { update, weight });
            }
            total_weight = total_weight.saturating_add(weight);
        }
        if weights.is_empty() {
            return Err(AggregateError::Empty);
        }
        Ok(Self {
            outer: outer.clone(),
            weights: weights.to_vec(),
            total_weight,
            first_index: 0,
            base: Vec::new(),
            acc: Vec::new(),
            update: Vec::new(),
            folded: 0,
        })
    }

    /// Number of values that are done: the index of the first value of the current slice.
    #[must_use]
    pub const fn values_done(&self) -> u64 {
        self.first_index
    }

    /// Begins a slice.
    ///
    /// # Errors
    /// [`AggregateError`] if the bytes are ragged or not finite.
    pub fn begin(&mut self, base: &[u8]) -> Result<(), AggregateError> {
        decode("base model", base, &mut self.base)?;
        if let Some(i) = self.base.iter().position(|v| !v.is_finite()) {
            return Err(AggregateError::NonFiniteState { what: "base model", index: self.first_index + i as u64 });
        }
        self.acc.clear();
        self.acc.resize(self.base.len(), 0.0);
        self.folded = 0;
        Ok(())
    }

    /// Folds the same slice of the next update.
    ///
    /// # Errors
    /// [`AggregateError`] names the update and the index in the whole payload.
    pub fn fold(&mut self, update: &[u8]) -> Result<(), AggregateError> {
        let expected = self.weights.len();
        let Some(&weight) = self.weights.get(self.folded) else {
            return Err(AggregateError::Order { folded: self.folded + 1, expected });
        };
        decode("update", update, &mut self.update)?;
        fold(&mut self.acc, &self.update, weight).map_err(|e| match e {
            AggregateError::NonFinite { index, .. } => {
                AggregateError::NonFinite { update: self.folded, index: self.first_index + index }
            }
            other => other,
        })?;
        self.folded += 1;
        Ok(())
    }

    /// Ends the slice. `velocity` is the same slice of the velocity; empty stands for zeros.
    ///
    /// # Errors
    /// [`AggregateError`] if an update is missing or a value is not finite.
    pub fn finish(&mut self, velocity: &[u8]) -> Result<NextSlice, AggregateError> {
        if self.folded != self.weights.len() {
            return Err(AggregateError::Order { folded: self.folded, expected: self.weights.len() });
        }
        let first_index = self.first_index;
        let mut values = Vec::new();
        if !matches!(self.outer, Outer::Average) {
            decode("velocity", velocity, &mut values)?;
            if velocity.is_empty() {
                values.resize(self.base.len(), 0.0);
            }
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                return Err(AggregateError::NonFiniteState { what: "velocity", index: first_index + i as u64 });
            }
        }
        let mean = finish(&self.acc, self.total_weight)?;
        let next = outer_step(&self.outer, &self.base, &mean, &mut values).map_err(|e| match e {
            AggregateError::Overflow { index } => AggregateError::Overflow { index: first_index + index },
            other => other,
        })?;
        self.first_index += self.base.len() as u64;
        self.folded = 0;
        Ok(NextSlice { model: encode(&next), velocity: encode(&values) })
    }
}

fn decode(what: &'static str, bytes: &[u8], into: &mut Vec<f32>) -> Result<(), AggregateError> {
    let (values, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(AggregateError::Ragged { what, bytes: bytes.len() });
    }
    into.clear();
    into.extend(values.iter().map(|&v| f32::from_le_bytes(v)));
    Ok(())
}

fn encode(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
