//! What differs between the tensors of two models, as far as their headers say.

use std::cmp::Ordering;

use super::TensorInfo;

/// What became of one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference<'a> {
    /// Only the second model has it.
    Added(&'a TensorInfo),
    /// Only the first model has it.
    Removed(&'a TensorInfo),
    /// Both have it, with another shape or type.
    Reshaped(&'a TensorInfo, &'a TensorInfo),
    /// Both have it in one shape and type. Whether its bytes are equal, only they can say.
    Alike(&'a TensorInfo, &'a TensorInfo),
}

impl Difference<'_> {
    /// The tensor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Added(tensor) | Self::Removed(tensor) | Self::Reshaped(_, tensor) | Self::Alike(_, tensor) => {
                &tensor.name
            }
        }
    }
}

/// What became of every tensor from `base` to `head`, by ascending name. Names are distinct in each.
#[must_use]
pub fn compare<'a>(base: &'a [TensorInfo], head: &'a [TensorInfo]) -> Vec<Difference<'a>> {
    fn by_name(tensors: &[TensorInfo]) -> Vec<&TensorInfo> {
        let mut sorted: Vec<_> = tensors.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted
    }
    let (base, head) = (by_name(base), by_name(head));
    let mut found = Vec::with_capacity(base.len().max(head.len()));
    let (mut old, mut new) = (base.into_iter().peekable(), head.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(&b.name),
        };
        let before = if order == Ordering::Greater { None } else { old.next() };
        let after = if order == Ordering::Less { None } else { new.next() };
        found.extend(match (before, after) {
            (Some(a), Some(b)) if a.dtype == b.dtype && a.shape == b.shape => Some(Difference::Alike(a, b)),
            (Some(a), Some(b)) => Some(Difference::Reshaped(a, b)),
            (Some(a), None) => Some(Difference::Removed(a)),
            (None, b) => b.map(Difference::Added),
        });
    }
}
