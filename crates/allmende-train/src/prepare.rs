//! Before training: repeated rows, scaling, and the part that is held out.

use allmende_core::decimal::Decimal;
use allmende_core::run::plan::Normalization;

use crate::stream::StreamKey;
use crate::table::Table;

/// One row in this many is held out.
pub const HELD_OUT_SHARE: usize = 5;

/// Why a table cannot be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The constants are not as many as the features.
    #[error("the normalization has constants for {constants} features, the table has {features}")]
    Constants {
        /// Constants in the plan.
        constants: usize,
        /// Features of the table.
        features: usize,
    },
    /// Rows are not whole.
    #[error("{values} values are not whole rows of {features} features")]
    Ragged {
        /// Values given.
        values: usize,
        /// Features of a row.
        features: usize,
    },
    /// Scaling leads out of the range of numbers.
    #[error("feature {feature} of row {row} is not a finite number once it is normalized")]
    NonFinite {
        /// The row, from 0.
        row: usize,
        /// The feature, from 0.
        feature: usize,
    },
    /// A mean or a deviation cannot be written as a decimal.
    #[error("column {column}: {value} is out of the range of constants in a plan")]
    Range {
        /// The column.
        column: String,
        /// The value.
        value: String,
    },
}

/// A row that was removed because another is exactly like it. Rows are counted as in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// The removed row.
    pub row: u32,
    /// The earlier row that stays.
    pub of: u32,
}

/// Two rows with the same features and different labels. Rows are counted as in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The later row.
    pub row: u32,
    /// Its label.
    pub label: u32,
    /// The earliest row with these features.
    pub of: u32,
    /// That row's label.
    pub of_label: u32,
}

impl std::fmt::Display for Repeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {} repeats row {}: removed", self.row, self.of)
    }
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { row, label, of, of_label } = self;
        write!(f, "row {row} has the features of row {of} but label {label} instead of {of_label}: both kept")
    }
}

/// What was found by looking for duplicates. It names row numbers of private data: for the owner's eyes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DuplicateReport {
    /// Rows that were removed.
    pub repeats: Vec<Repeat>,
    /// Rows that contradict others.
    pub conflicts: Vec<Conflict>,
}

/// Removes rows that are exactly like an earlier one, label included.
///
/// Rows with equal features and different labels are reported and **kept**: nothing here can know which label is right,
/// dropping the later one would let the order of a file decide, and dropping both would hide that people disagree.
#[must_use]
pub fn deduplicate(table: &Table) -> (Table, DuplicateReport) {
    let bits = |i: usize| table.row(i).iter().map(|v| v.to_bits());
    let mut order: Vec<usize> = (0..table.rows()).collect();
    // The index comes last, so that equal rows stand in the order of the file.
    order.sort_by(|&a, &b| bits(a).cmp(bits(b)).then(a.cmp(&b)));
    let mut removed = vec![false; table.rows()];
    let mut report = DuplicateReport::default();
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&i| bits(i).eq(bits(order[start]))).count();
        let group = &order[start..start + same];
        // First row of each label within the group.
        let mut first_of_label = std::collections::BTreeMap::new();
        for &i in group {
            let (row, label) = (table.file_rows[i], table.labels[i]);
            match first_of_label.get(&label) {
                Some(&of) => {
                    removed[i] = true;
                    report.repeats.push(Repeat { row, of });
                }
                None => {
                    first_of_label.insert(label, row);
                    if i != group[0] {
                        let (of, of_label) = (table.file_rows[group[0]], table.labels[group[0]]);
                        report.conflicts.push(Conflict { row, label, of, of_label });
                    }
                }
            }
        }
        start += same;
    }
    report.repeats.sort_by_key(|r| r.row);
    report.conflicts.sort_by_key(|c| c.row);
    let kept: Vec<usize> = (0..table.rows()).filter(|&i| !removed[i]).collect();
    (table.select(&kept), report)
}

/// Scales rows of `features` numbers in place by the plan's constants: `(x − shift) × scale` in double precision.
///
/// # Errors
/// [`PrepareError`] if the constants do not fit, or a result is not finite.
pub fn normalize(values: &mut [f32], features: usize, normalization: &Normalization) -> Result<(), PrepareError> {
    if features == 0 || !values.len().is_multiple_of(features) {
        return Err(PrepareError::Ragged { values: values.len(), features });
    }
    let constants: Vec<(f64, f64)> = match normalization {
        Normalization::Uniform { shift, scale } => vec![(shift.to_f64(), scale.to_f64()); features],
        Normalization::PerFeature { shift, scale } => {
            if shift.len() != features || scale.len() != features {
                return Err(PrepareError::Constants { constants: shift.len().min(scale.len()), features });
            }
            shift.iter().zip(scale).map(|(a, b)| (a.to_f64(), b.to_f64())).collect()
        }
    };
    for (row, values) in values.chunks_exact_mut(features).enumerate() {
        for (feature, (value, (shift, scale))) in values.iter_mut().zip(&constants).enumerate() {
            *value = ((f64::from(*value) - shift) * scale) as f32;
            if !value.is_finite() {
                return Err(PrepareError::NonFinite { row, feature });
            }
        }
    }
    Ok(())
}

/// The table with its features scaled.
///
/// # Errors
/// [`PrepareError`] as for [`normalize`].
pub fn normalized(table: &Table, normalization: &Normalization) -> Result<Table, PrepareError> {
    let mut scaled = table.clone();
    normalize(&mut scaled.features, table.columns.len(), normalization)?;
    Ok(scaled)
}

/// Which rows train and which are held out, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Indices of the rows that train.
    pub train: Vec<usize>,
    /// Indices of the rows that only evaluate.
    pub held_out: Vec<usize>,
}

/// Holds out a fifth of the rows, chosen by the salt, the same share of every class as nearly as whole rows allow.
///
/// Whoever knows table and salt gets the same split, so a node that committed to both cannot choose rows that flatter it.
#[must_use]
pub fn split(table: &Table, salt: &[u8; 32]) -> Split {
    let mut by_class = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    for (i, &label) in table.labels.iter().enumerate() {
        by_class.entry(label).or_default().push(i);
    }
    let mut stream = StreamKey::salted("held-out", salt).open();
    let mut split = Split { train: Vec::new(), held_out: Vec::new() };
    // What a class is short of a whole row is carried to the next, so that the total is a fifth too.
    let mut carried = 0;
    for rows in by_class.values_mut() {
        stream.shuffle(rows);
        let held_out = (rows.len() + carried) / HELD_OUT_SHARE;
        carried = (rows.len() + carried) % HELD_OUT_SHARE;
        // A class of one or two rows with what was carried still keeps a row to train on.
        let held_out = held_out.min(rows.len().saturating_sub(1));
        split.held_out.extend_from_slice(&rows[..held_out]);
        split.train.extend_from_slice(&rows[held_out..]);
    }
    split.train.sort_unstable();
    split.held_out.sort_unstable();
    split
}

/// Constants that give every feature of `reference` mean 0 and deviation 1, rounded to `digits` significant digits.
///
/// They become part of the plan, which every member reads: the reference should be a public table, or one whose means and
/// deviations its owner agreed to show. Few digits (3, say) show less and train as well. A constant feature keeps scale 1.
///
/// # Errors
/// [`PrepareError::Range`] if a constant has no decimal in the range that plans allow.
pub fn constants(reference: &Table, digits: usize) -> Result<Normalization, PrepareError> {
    let (rows, width) = (reference.rows().max(1) as f64, reference.columns.len());
    let column = |j: usize| reference.features.iter().skip(j).step_by(width.max(1)).map(|&v| f64::from(v));
    let (mut shift, mut scale) = (Vec::with_capacity(width), Vec::with_capacity(width));
    for (j, name) in reference.columns.iter().enumerate() {
        let mean = column(j).sum::<f64>() / rows;
        let variance = column(j).map(|v| (v - mean) * (v - mean)).sum::<f64>() / rows;
        let decimal = |value: f64| {
            decimal(value, digits).ok_or_else(|| PrepareError::Range { column: name.clone(), value: value.to_string() })
        };
        shift.push(decimal(mean)?);
        scale.push(decimal(if variance > 0.0 { 1.0 / variance.sqrt() } else { 1.0 })?);
    }
    Ok(Normalization::PerFeature { shift, scale })
}

/// The decimal nearest to `value` among those with `digits` significant digits.
#[must_use]
pub fn decimal(value: f64, digits: usize) -> Option<Decimal> {
    if !value.is_finite() {
        return None;
    }
    // Through the shortest exponent form: it rounds to significant digits, and parsing it back is exact enough.
    let rounded: f64 = format!("{value:.*e}", digits.clamp(1, 12) - 1).parse().ok()?;
    let text = format!("{rounded:.12}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    let parsed: Decimal = text.parse().ok()?;
    // A value below what twelve places hold would silently become 0.
    (parsed.to_f64() != 0.0 || value == 0.0).then_some(parsed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(rows: &[(&[f32], u32)]) -> Table {
        Table {
            features: rows.iter().flat_map(|(f, _)| f.iter().copied()).collect(),
            labels: rows.iter().map(|(_, label)| *label).collect(),
            columns: (0..rows[0].0.len()).map(|i| format!("c{i}")).collect(),
            label: "label".into(),
            file_rows: (2..2 + rows.len() as u32).collect(),
        }
    }

    #[test]
    fn duplicates_are_told_from_conflicts() {
        let (a, b) = (&[1.0, 2.0][..], &[3.0, 4.0][..]);
        let (kept, report) = deduplicate(&table(&[(a, 0), (b, 1), (a, 0), (a, 1), (a, 1), (b, 1)]));
        assert_eq!(kept.file_rows, [2, 3, 5]);
        let texts: Vec<String> = report.repeats.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["row 4 repeats row 2: removed", "row 6 repeats row 5: removed", "row 7 repeats row 3: removed"]
        );
        let texts: Vec<String> = report.conflicts.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["row 5 has the features of row 2 but label 1 instead of 0: both kept"]);
    }

    #[test]
    fn scaling() {
        let d = |text: &str| text.parse::<Decimal>().unwrap();
        let mut values = [0.0, 16.0, 8.0, 4.0];
        normalize(&mut values, 2, &Normalization::Uniform { shift: d("8"), scale: d("0.125") }).unwrap();
        assert_eq!(values, [-1.0, 1.0, 0.0, -0.5]);
        let per_feature = Normalization::PerFeature { shift: vec![d("1")], scale: vec![d("1")] };
        assert!(normalize(&mut values, 2, &per_feature).unwrap_err().to_string().contains("constants for 1"));
        let mut values = [f32::MAX];
        let big = Normalization::Uniform { shift: d("0"), scale: d("10") };
        assert_eq!(normalize(&mut values, 1, &big), Err(PrepareError::NonFinite { row: 0, feature: 0 }));
    }

    #[test]
    fn constants_standardize() {
        let reference = table(&[(&[1.0, 5.0], 0), (&[3.0, 5.0], 1)]);
        let d = |text: &str| text.parse::<Decimal>().unwrap();
        let expected = Normalization::PerFeature { shift: vec![d("2"), d("5")], scale: vec![d("1"), d("1")] };
        assert_eq!(constants(&reference, 4), Ok(expected));
        let text = |value, digits| decimal(value, digits).map(|d| d.to_string());
        assert_eq!(text(123.456, 4).as_deref(), Some("123.5"));
        assert_eq!(text(-0.000_123_456, 3).as_deref(), Some("-0.000123"));
        assert_eq!(text(1234.0, 2).as_deref(), Some("1200"));
        assert_eq!(text(0.0, 3).as_deref(), Some("0"));
        assert_eq!(text(-1e-14, 3), None);
        assert_eq!(text(1e13, 3), None);
        assert_eq!(text(f64::NAN, 3), None);
    }

    #[test]
    fn another_salt_another_split() {
        let rows: Vec<(&[f32], u32)> = (0..100).map(|i| (&[1.0][..], i % 3)).collect();
        let table = table(&rows);
        assert_eq!(split(&table, &[1; 32]), split(&table, &[1; 32]));
        assert_ne!(split(&table, &[1; 32]), split(&table, &[2; 32]));
    }

    proptest! {
        #[test]
        fn a_split_is_a_stratified_partition(labels in prop::collection::vec(0..4_u32, 1..200), salt in any::<[u8; 32]>()) {
            let rows: Vec<(&[f32], u32)> = labels.iter().map(|&l| (&[1.0][..], l)).collect();
            let split = split(&table(&rows), &salt);
            let mut all = [split.train.clone(), split.held_out.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            for class in 0..4 {
                let of = |rows: &[usize]| rows.iter().filter(|&&i| labels[i] == class).count();
                let (held_out, total) = (of(&split.held_out), of(&split.held_out) + of(&split.train));
                prop_assert!(held_out.abs_diff(total / 5) <= 1, "{held_out} of {total}");
            }
        }
    }
}
