//! The weighted mean and the outer step, to the last bit.

use super::*;
use proptest::prelude::*;

fn nesterov(rate: &str, momentum: &str) -> Outer {
    Outer::Nesterov { rate: rate.parse().unwrap(), momentum: momentum.parse().unwrap() }
}

fn aggregate(
    outer: &Outer,
    base: &[f32],
    updates: &[(u64, Vec<f32>)],
    slice: usize,
) -> Result<NextSlice, AggregateError> {
    let weights: Vec<u64> = updates.iter().map(|(w, _)| *w).collect();
    let mut aggregator = SliceAggregator::new(outer, &weights)?;
    let mut whole = NextSlice { model: vec![], velocity: vec![] };
    for start in (0..base.len()).step_by(slice) {
        let range = start..base.len().min(start + slice);
        aggregator.begin(&encode(&base[range.clone()]))?;
        for (_, update) in updates {
            aggregator.fold(&encode(&update[range.clone()]))?;
        }
        let next = aggregator.finish(&[])?;
        whole.model.extend(next.model);
        whole.velocity.extend(next.velocity);
    }
    assert_eq!(aggregator.values_done(), base.len() as u64);
    Ok(whole)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![];
    decode("test", bytes, &mut values).unwrap();
    values
}

#[test]
fn nesterov_by_hand() {
    // Δ = 1; v = 1; next = 0 + 0.5 × (0.5 × 1 + 1) = 0.75. Then Δ = 1 again: v = 1.5; next = 0.75 + 0.5 × 1.75 = 1.625.
    let outer = nesterov("0.5", "0.5");
    let mut velocity = [0.0];
    assert_eq!(outer_step(&outer, &[0.0], &[1.0], &mut velocity), Ok(vec![0.75]));
    assert_eq!(outer_step(&outer, &[0.75], &[1.75], &mut velocity), Ok(vec![1.625]));
    assert_eq!(velocity, [1.5]);
}

#[test]
fn portable_bits() {
    // A golden value: whoever changes the order of operations breaks closed rounds.
    let updates = [(3, vec![0.1_f32, -7.25e-3]), (5, vec![0.3, 1.5e8]), (7, vec![-0.7, 2.5])];
    let next = aggregate(&nesterov("0.7", "0.9"), &[0.2, 1.0], &updates, 1).unwrap();
    let bits: Vec<u32> = floats(&next.model).iter().chain(&floats(&next.velocity)).map(|v| v.to_bits()).collect();
    let (mean0, mean1) = (
        (3.0 * f64::from(0.1_f32) + 5.0 * f64::from(0.3_f32) + 7.0 * f64::from(-0.7_f32)) / 15.0,
        (3.0 * f64::from(-7.25e-3_f32) + 5.0 * 1.5e8 + 7.0 * 2.5) / 15.0,
    );
    let expect = |base: f32, mean: f64| {
        let change = mean - f64::from(base);
        let v = change as f32;
        ((f64::from(base) + 0.7 * (0.9 * f64::from(v) + change)) as f32, v)
    };
    let (a, b) = (expect(0.2, mean0), expect(1.0, mean1));
    assert_eq!(bits, [a.0, b.0, a.1, b.1].map(f32::to_bits));
}

#[test]
fn refusals_name_the_place() {
    let outer = Outer::Average;
    let bad = vec![0.0, 0.0, f32::NAN];
    let got = aggregate(&outer, &[0.0; 3], &[(1, vec![0.0; 3]), (1, bad)], 2);
    assert_eq!(got, Err(AggregateError::NonFinite { update: 1, index: 2 }));
    let got = aggregate(&outer, &[0.0, f32::INFINITY], &[(1, vec![0.0; 2])], 1);
    assert_eq!(got, Err(AggregateError::NonFiniteState { what: "base model", index: 1 }));
    let got = aggregate(&nesterov("1000", "0.9"), &[0.0, 0.0], &[(1, vec![0.0, 3e38])], 1);
    assert_eq!(got, Err(AggregateError::Overflow { index: 1 }));
    assert_eq!(aggregate(&outer, &[0.0], &[], 1), Err(AggregateError::Empty));
    for weight in [0, MAX_WEIGHT + 1, u64::MAX] {
        let got = aggregate(&outer, &[0.0], &[(1, vec![0.0]), (weight, vec![0.0])], 1);
        assert_eq!(got, Err(AggregateError::Weight { update: 1, weight }));
    }
    let mut aggregator = SliceAggregator::new(&outer, &[1, 1]).unwrap();
    aggregator.begin(&[0; 4]).unwrap();
    assert!(matches!(aggregator.fold(&[0; 3]), Err(AggregateError::Ragged { .. })));
    assert!(matches!(aggregator.fold(&[0; 8]), Err(AggregateError::Length { .. })));
    aggregator.fold(&[0; 4]).unwrap();
    assert_eq!(aggregator.finish(&[]), Err(AggregateError::Order { folded: 1, expected: 2 }));
    aggregator.fold(&[0; 4]).unwrap();
    assert_eq!(aggregator.fold(&[0; 4]), Err(AggregateError::Order { folded: 3, expected: 2 }));
}

/// A base, and updates of the same length with weights.
fn case() -> impl Strategy<Value = (Vec<f32>, Vec<(u64, Vec<f32>)>)> {
    (1..20_usize, 1..6_usize).prop_flat_map(|(values, members)| {
        let vector = || prop::collection::vec(-1e6_f32..1e6, values);
        (vector(), prop::collection::vec((1..=MAX_WEIGHT, vector()), members))
    })
}

proptest! {
    #[test]
    fn one_update_is_its_own_average((base, mut updates) in case()) {
        updates.truncate(1);
        let next = aggregate(&Outer::Average, &base, &updates, 7).unwrap();
        prop_assert_eq!(next.model, encode(&updates[0].1));
        prop_assert!(next.velocity.is_empty());
    }

    #[test]
    fn slices_do_not_matter((base, updates) in case(), slice in 1..25_usize) {
        let outer = nesterov("0.7", "0.9");
        prop_assert_eq!(aggregate(&outer, &base, &updates, slice), aggregate(&outer, &base, &updates, base.len()));
    }

    #[test]
    fn the_mean_lies_between((base, updates) in case()) {
        let mean = floats(&aggregate(&Outer::Average, &base, &updates, 4).unwrap().model);
        for (i, m) in mean.iter().enumerate() {
            let low = updates.iter().map(|(_, u)| u[i]).fold(f32::INFINITY, f32::min);
            let high = updates.iter().map(|(_, u)| u[i]).fold(f32::NEG_INFINITY, f32::max);
            prop_assert!(low <= *m && *m <= high);
        }
    }

    #[test]
    fn a_plain_outer_step_is_the_average((base, updates) in case()) {
        let plain = floats(&aggregate(&nesterov("1", "0"), &base, &updates, 4).unwrap().model);
        let mean = floats(&aggregate(&Outer::Average, &base, &updates, 4).unwrap().model);
        for (p, m) in plain.iter().zip(&mean) {
            prop_assert!((p - m).abs() <= 1e-6 * m.abs().max(1e-3), "{p} {m}");
        }
    }

    /// With rows as weights, one gradient step per member averages to one step on the pooled gradient.
    #[test]
    fn averaged_steps_are_the_pooled_step(rows in prop::collection::vec(prop::collection::vec(-10.0_f32..10.0, 1..9), 1..5)) {
        // Loss Σ(θ − x)²/2n at θ = 1: the gradient is θ − mean(x).
        let step = |xs: &[f32]| 1.0 - 0.1 * (1.0 - xs.iter().sum::<f32>() / xs.len() as f32);
        let updates: Vec<_> = rows.iter().map(|xs| (xs.len() as u64, vec![step(xs)])).collect();
        let pooled = step(&rows.concat());
        let next = floats(&aggregate(&Outer::Average, &[1.0], &updates, 1).unwrap().model)[0];
        prop_assert!((next - pooled).abs() < 1e-5, "{next} {pooled}");
    }

    #[test]
    fn never_panics(base in prop::collection::vec(any::<u8>(), 0..40), update in prop::collection::vec(any::<u8>(), 0..40),
                    velocity in prop::collection::vec(any::<u8>(), 0..40), weight in any::<u64>()) {
        if let Ok(mut aggregator) = SliceAggregator::new(&nesterov("0.7", "0.9"), &[weight])
            && aggregator.begin(&base).is_ok() && aggregator.fold(&update).is_ok() {
            let _ = aggregator.finish(&velocity);
        }
    }
}
