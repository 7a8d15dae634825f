//! How good predictions are, in whole numbers that nodes can sign and a hub can add.

use serde::{Deserialize, Serialize};

/// Most classes of a confusion matrix.
pub const MAX_CONFUSION_CLASSES: u32 = 1_024;
/// Cells below this count are not published one by one.
pub const SMALL_CELL: u64 = 5;

/// Rows counted by their true class and the predicted one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// Number of classes.
    pub classes: u32,
    /// `counts[true × classes + predicted]`.
    pub counts: Vec<u64>,
}

/// Two matrices cannot be added, or a matrix is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a confusion matrix of {classes} classes (1 to {MAX_CONFUSION_CLASSES}) has {classes} × {classes} counts, not {counts}"
)]
pub struct InvalidConfusion {
    /// Number of classes.
    pub classes: u32,
    /// Number of counts.
    pub counts: usize,
}

/// How well one class is found. `None` where nothing can be said: no row of the class, or none predicted as such.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassRates {
    /// Rows of the class.
    pub rows: u64,
    /// Share of the rows predicted as this class that are of it.
    pub precision: Option<f64>,
    /// Share of the rows of this class that are predicted as it.
    pub recall: Option<f64>,
    /// Harmonic mean of both.
    pub f1: Option<f64>,
}

impl Confusion {
    /// A matrix without rows.
    ///
    /// # Errors
    /// [`InvalidConfusion`] past [`MAX_CONFUSION_CLASSES`].
    pub fn new(classes: u32) -> Result<Self, InvalidConfusion> {
        let cells = classes as usize * classes as usize;
        if classes == 0 || classes > MAX_CONFUSION_CLASSES {
            return Err(InvalidConfusion { classes, counts: cells });
        }
        Ok(Self { classes, counts: vec![0; cells] })
    }

    /// Checks a matrix that came from elsewhere.
    ///
    /// # Errors
    /// [`InvalidConfusion`] if the counts are not `classes` × `classes`.
    pub fn check(&self) -> Result<(), InvalidConfusion> {
        if Self::new(self.classes).is_ok_and(|own| own.counts.len() == self.counts.len()) {
            Ok(())
        } else {
            Err(InvalidConfusion { classes: self.classes, counts: self.counts.len() })
        }
    }

    /// Counts one row; classes past the end are not counted.
    pub fn count(&mut self, truth: u32, predicted: u32) {
        if truth < self.classes && predicted < self.classes {
            let at = truth as usize * self.classes as usize + predicted as usize;
            if let Some(cell) = self.counts.get_mut(at) {
                *cell = cell.saturating_add(1);
            }
        }
    }

    /// Adds another node's matrix.
    ///
    /// # Errors
    /// [`InvalidConfusion`] if it has other classes.
    pub fn add(&mut self, other: &Self) -> Result<(), InvalidConfusion> {
        if other.classes != self.classes || other.counts.len() != self.counts.len() {
            return Err(InvalidConfusion { classes: self.classes, counts: other.counts.len() });
        }
        for (cell, more) in self.counts.iter_mut().zip(&other.counts) {
            *cell = cell.saturating_add(*more);
        }
        Ok(())
    }

    fn cell(&self, truth: usize, predicted: usize) -> u64 {
        self.counts.get(truth * self.classes as usize + predicted).copied().unwrap_or(0)
    }

    /// Rows counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, &n| sum.saturating_add(n))
    }

    /// Rows predicted rightly.
    #[must_use]
    pub fn correct(&self) -> u64 {
        (0..self.classes as usize).fold(0, |sum, i| sum.saturating_add(self.cell(i, i)))
    }

    /// Share predicted rightly, for showing; `None` without rows.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.correct(), self.total())
    }

    /// Rates of class `class`, for showing.
    #[must_use]
    pub fn class(&self, class: u32) -> ClassRates {
        let (n, i) = (self.classes as usize, class as usize);
        let hit = if i < n { self.cell(i, i) } else { 0 };
        let rows = if i < n { (0..n).map(|j| self.cell(i, j)).sum() } else { 0_u64 };
        let predicted = if i < n { (0..n).map(|j| self.cell(j, i)).sum() } else { 0_u64 };
        // 2PR / (P + R) in counts, which is defined as soon as either is.
        let f1 = ratio(2 * hit, rows + predicted);
        ClassRates { rows, precision: ratio(hit, predicted), recall: ratio(hit, rows), f1 }
    }

    /// Mean F1 of the classes that occur or are predicted, for showing.
    #[must_use]
    pub fn macro_f1(&self) -> Option<f64> {
        let scores: Vec<f64> = (0..self.classes).filter_map(|class| self.class(class).f1).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }

    /// Mean recall of the classes that occur, for showing: accuracy as if all classes had equally many rows.
    #[must_use]
    pub fn macro_recall(&self) -> Option<f64> {
        let scores: Vec<f64> = (0..self.classes).filter_map(|class| self.class(class).recall).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A confusion matrix that may leave a node: cells too small to be told are merged into one count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedConfusion {
    /// Number of classes.
    pub classes: u32,
    /// As in [`Confusion`]; `null` where a cell was merged. Empty cells are merged too: otherwise a `null` would say that
    /// somebody is there.
    pub counts: Vec<Option<u64>>,
    /// Rows of all merged cells together.
    pub merged: u64,
    /// Rows predicted rightly, all of them.
    pub correct: u64,
    /// Rows counted, all of them.
    pub total: u64,
}

/// Merges every cell below `threshold`, on the diagonal or off it, into one count.
#[must_use]
pub fn merge_small(confusion: &Confusion, threshold: u64) -> PublishedConfusion {
    let counts: Vec<Option<u64>> = confusion.counts.iter().map(|&n| (n >= threshold).then_some(n)).collect();
    let shown = counts.iter().flatten().fold(0_u64, |sum, &n| sum.saturating_add(n));
    let total = confusion.total();
    let merged = total.saturating_sub(shown);
    PublishedConfusion { classes: confusion.classes, counts, merged, correct: confusion.correct(), total }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn example() -> Confusion {
        Confusion { classes: 3, counts: vec![8, 2, 0, 1, 9, 0, 0, 0, 4] }
    }

    #[test]
    fn rates_by_hand() {
        let c = example();
        assert_eq!((c.total(), c.correct()), (24, 21));
        assert_eq!(c.accuracy(), Some(21.0 / 24.0));
        let zero = c.class(0);
        assert_eq!((zero.rows, zero.precision, zero.recall), (10, Some(8.0 / 9.0), Some(0.8)));
        assert_eq!(zero.f1, Some(16.0 / 19.0));
        assert_eq!(c.macro_f1(), Some((16.0 / 19.0 + 18.0 / 21.0 + 1.0) / 3.0));
        assert_eq!(c.macro_recall(), Some((0.8 + 0.9 + 1.0) / 3.0));
        assert_eq!(c.class(9).f1, None);
        assert_eq!(Confusion::new(2).unwrap().accuracy(), None);
    }

    #[test]
    fn small_cells_are_merged_and_nothing_is_lost() {
        let published = merge_small(&example(), SMALL_CELL);
        let none = None;
        assert_eq!(published.counts, [Some(8), none, none, none, Some(9), none, none, none, none]);
        assert_eq!((published.merged, published.correct, published.total), (7, 21, 24));
        let shown: u64 = published.counts.iter().flatten().sum();
        assert_eq!(shown + published.merged, published.total);
    }

    #[test]
    fn nodes_add_up() {
        let mut sum = example();
        sum.add(&example()).unwrap();
        assert_eq!(sum.total(), 48);
        assert!(sum.add(&Confusion::new(2).unwrap()).is_err());
        assert!(Confusion { classes: 3, counts: vec![0; 8] }.check().is_err());
        assert!(Confusion::new(MAX_CONFUSION_CLASSES + 1).is_err());
    }
}
