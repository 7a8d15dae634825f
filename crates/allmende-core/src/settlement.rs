//! Dividing money exactly: the fund's part first, the rest by largest remainder.
//!
//! Every pool is divided for itself. Earlier payouts are never recomputed from cumulative totals.

use serde::{Deserialize, Serialize};

use crate::amount::{Amount, InvalidAmount};
use crate::contribution::{Ratio, gcd};

/// Why a pool cannot be divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettlementError {
    /// Nobody to give to: there is no weight, or every weight is zero.
    #[error("a pool is divided among weights of which at least one is above zero")]
    NoWeight,
    /// A weight is below zero.
    #[error("the weight at place {place} is negative")]
    Negative {
        /// Its place, counted from 0.
        place: usize,
    },
    /// The weights have no common denominator within 125 bits. Shapley values of at most 10 parties always have.
    #[error("the weights are too fine to divide by exactly")]
    TooFine,
    /// More than the whole.
    #[error("the fund's part is 0 to 100 per cent, not {0}")]
    Percent(u32),
    /// A part out of range, which no valid pool can cause.
    #[error("a part of the pool is out of range")]
    Range,
}

impl From<InvalidAmount> for SettlementError {
    fn from(_: InvalidAmount) -> Self {
        Self::Range
    }
}

/// How a pool was divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// The compensation fund's part.
    pub fund: Amount,
    /// Each party's part, in the order of the weights.
    pub shares: Vec<Amount>,
}

/// Gives the fund `floor(pool · fund_percent / 100)` and divides the rest by `weights`. All parts add up to `pool`.
///
/// # Errors
/// [`SettlementError`].
pub fn settle(pool: Amount, fund_percent: u32, weights: &[Ratio]) -> Result<Settlement, SettlementError> {
    let fund = fund_share(pool, fund_percent)?;
    // The fund's part is at most the pool, so the difference is an amount.
    let rest = Amount::from_minor(pool.minor() - fund.minor())?;
    Ok(Settlement { fund, shares: split(rest, weights)? })
}

/// The fund's part: `floor(pool · fund_percent / 100)`.
///
/// # Errors
/// [`SettlementError::Percent`] above 100.
pub fn fund_share(pool: Amount, fund_percent: u32) -> Result<Amount, SettlementError> {
    if fund_percent > 100 {
        return Err(SettlementError::Percent(fund_percent));
    }
    let part = i128::from(pool.minor()) * i128::from(fund_percent) / 100;
    Ok(Amount::from_minor(i64::try_from(part).map_err(|_| SettlementError::Range)?)?)
}

/// Divides `pool` in proportion to `weights` by the method of the largest remainder (Hamilton): each gets the whole minor
/// units of its exact part, and what is left goes, one unit each, to the largest fractions, ties by order. The parts
/// always add up to `pool`, and a weight of zero gets nothing.
///
/// # Errors
/// [`SettlementError`] when there is nobody to give to, a weight is negative, or the weights are too fine.
pub fn split(pool: Amount, weights: &[Ratio]) -> Result<Vec<Amount>, SettlementError> {
    let weights = integer_weights(weights)?;
    let total = weights.iter().try_fold(0_u128, |sum, &weight| sum.checked_add(weight));
    // Below 2^125 the long division has headroom for doubling and adding.
    let total = total.filter(|&total| total < 1 << 125).ok_or(SettlementError::TooFine)?;
    if total == 0 {
        return Err(SettlementError::NoWeight);
    }
    let pool = pool.minor().unsigned_abs();
    let mut parts: Vec<(u64, u128)> = weights.iter().map(|&weight| multiply_divide(pool, weight, total)).collect();
    let given: u64 = parts.iter().map(|part| part.0).sum();
    // The fractions add up to what is left, so fewer units are left than there are fractions above zero.
    let left = usize::try_from(pool - given).map_err(|_| SettlementError::Range)?;
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(parts[place].1));
    for &place in order.iter().take(left) {
        parts[place].0 += 1;
    }
    parts
        .into_iter()
        .map(|(units, _)| Ok(Amount::from_minor(i64::try_from(units).map_err(|_| SettlementError::Range)?)?))
        .collect()
}

/// The weights as integers in the same proportions.
fn integer_weights(weights: &[Ratio]) -> Result<Vec<u128>, SettlementError> {
    if let Some(place) = weights.iter().position(|weight| weight.is_negative()) {
        return Err(SettlementError::Negative { place });
    }
    let denominator = weights.iter().try_fold(1_u128, |multiple, weight| {
        let den = weight.den().unsigned_abs();
        (multiple / gcd(multiple, den)).checked_mul(den)
    });
    let denominator = denominator.ok_or(SettlementError::TooFine)?;
    weights
        .iter()
        .map(|weight| {
            let scale = denominator / weight.den().unsigned_abs();
            weight.num().unsigned_abs().checked_mul(scale).ok_or(SettlementError::TooFine)
        })
        .collect()
}

/// Quotient and remainder of `factor · weight / total`, for `weight ≤ total < 2^125` and `total > 0`.
///
/// Long division by the bits of `factor`: the product itself may need 189 bits.
fn multiply_divide(factor: u64, weight: u128, total: u128) -> (u64, u128) {
    let (mut quotient, mut rest) = (0_u64, 0_u128);
    for bit in (0..u64::BITS - factor.leading_zeros()).rev() {
        // Invariant: (factor's bits so far) · weight = quotient · total + rest, with rest < total.
        let sum = 2 * rest + if factor >> bit & 1 == 1 { weight } else { 0 };
        quotient = 2 * quotient + (sum / total) as u64;
        rest = sum % total;
    }
    (quotient, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amount::MAX_MINOR;
    use crate::contribution::{AllZero, Negative, shapley, shares};

    fn amount(minor: i64) -> Amount {
        Amount::from_minor(minor).expect("in range")
    }

    fn whole(weights: &[i64]) -> Vec<Ratio> {
        weights.iter().map(|&w| Ratio::whole(w)).collect()
    }

    fn minors(parts: &[Amount]) -> Vec<i64> {
        parts.iter().map(|part| part.minor()).collect()
    }

    fn split_whole(pool: i64, weights: &[i64]) -> Vec<i64> {
        minors(&split(amount(pool), &whole(weights)).expect("valid"))
    }

    #[test]
    fn known_divisions() {
        assert_eq!(split_whole(10, &[6, 6, 2]), [4, 4, 2]);
        assert_eq!(split_whole(11, &[6, 6, 2]), [5, 5, 1]);
        // Ties by order.
        assert_eq!(split_whole(5, &[1, 1, 1]), [2, 2, 1]);
        assert_eq!(split_whole(1, &[0, 1, 1]), [0, 1, 0]);
        assert_eq!(split_whole(0, &[3, 4]), [0, 0]);
        assert_eq!(split_whole(MAX_MINOR, &[i64::MAX, i64::MAX]), [MAX_MINOR / 2 + MAX_MINOR % 2, MAX_MINOR / 2]);
        let thirds =
            [Ratio::new(1, 3).expect("fits"), Ratio::new(1, 6).expect("fits"), Ratio::new(1, 2).expect("fits")];
        assert_eq!(split(amount(100), &thirds).map(|p| minors(&p)), Ok(vec![33, 17, 50]));
    }

    #[test]
    fn the_fund_comes_first() {
        let settled = settle(amount(1_000_099), 5, &whole(&[1, 1])).expect("valid");
        assert_eq!((settled.fund.minor(), minors(&settled.shares)), (50_004, vec![475_048, 475_047]));
        assert_eq!(settle(amount(7), 100, &whole(&[1])).map(|s| s.fund.minor()), Ok(7));
        assert_eq!(settle(amount(7), 0, &whole(&[1])).map(|s| s.fund.minor()), Ok(0));
        assert_eq!(settle(amount(7), 101, &whole(&[1])), Err(SettlementError::Percent(101)));
        assert_eq!(fund_share(amount(MAX_MINOR), 99).map(Amount::minor), Ok((i128::from(MAX_MINOR) * 99 / 100) as i64));
    }

    #[test]
    fn what_cannot_be_divided_is_an_error() {
        assert_eq!(split(amount(1), &[]), Err(SettlementError::NoWeight));
        assert_eq!(split(amount(1), &whole(&[0, 0])), Err(SettlementError::NoWeight));
        assert_eq!(split(amount(1), &whole(&[1, -1])), Err(SettlementError::Negative { place: 1 }));
        let fine = [(1, i128::MAX), (1, i128::MAX - 1)].map(|(n, d)| Ratio::new(n, d).expect("fits"));
        assert_eq!(split(amount(1), &fine), Err(SettlementError::TooFine));
    }

    #[test]
    fn ten_parties_with_the_largest_utilities_divide() {
        for extreme in [i64::MAX, 1 << 40] {
            let utility = |c: crate::run::plan::Coalition| {
                Some(if c.is_empty() { -extreme } else { extreme - i64::from(c.0).pow(3) })
            };
            let weights = shares(&shapley(10, utility).expect("measured"), Negative::Zero, AllZero::Equal);
            let parts = split(amount(MAX_MINOR), &weights).expect("total for Shapley weights");
            assert_eq!(minors(&parts).iter().sum::<i64>(), MAX_MINOR);
        }
    }

    fn weights() -> impl Strategy<Value = Vec<(i64, i64)>> {
        prop::collection::vec((0..1_i64 << 30, 1..30_i64), 1..10)
            .prop_filter("some weight", |w| w.iter().any(|x| x.0 > 0))
    }

    fn ratios(weights: &[(i64, i64)]) -> Vec<Ratio> {
        weights.iter().map(|&(n, d)| Ratio::new(n.into(), d.into()).expect("fits")).collect()
    }

    proptest! {
        #[test]
        fn parts_add_up_and_lie_within_one_unit_of_exact(pool in 0..=MAX_MINOR, w in prop::collection::vec(0..1_i64 << 30, 1..10)) {
            prop_assume!(w.iter().any(|&x| x > 0));
            let parts = split_whole(pool, &w);
            prop_assert_eq!(parts.iter().sum::<i64>(), pool);
            let total: i128 = w.iter().map(|&x| i128::from(x)).sum();
            let mut fractions = Vec::new();
            for (place, (&part, &weight)) in parts.iter().zip(&w).enumerate() {
                let exact = i128::from(pool) * i128::from(weight);
                let extra = i128::from(part) - exact / total;
                prop_assert!(extra == 0 || extra == 1);
                prop_assert!(weight > 0 || part == 0);
                fractions.push((exact % total, std::cmp::Reverse(place), extra == 1));
            }
            // Whoever got a unit more stands before everyone who did not: larger fraction, or earlier at the same.
            fractions.sort();
            let first_lucky = fractions.iter().position(|f| f.2).unwrap_or(fractions.len());
            prop_assert!(fractions[first_lucky..].iter().all(|f| f.2));
        }

        #[test]
        fn any_ratios_add_up_and_scale_does_not_matter(pool in 0..=MAX_MINOR, w in weights(), factor in 1..1_000_i64) {
            let parts = split(amount(pool), &ratios(&w)).expect("valid");
            prop_assert_eq!(minors(&parts).iter().sum::<i64>(), pool);
            let scaled: Vec<(i64, i64)> = w.iter().map(|&(n, d)| (n * factor, d)).collect();
            prop_assert_eq!(split(amount(pool), &ratios(&scaled)).expect("valid"), parts);
        }

        #[test]
        fn a_settlement_gives_out_the_pool(pool in 0..=MAX_MINOR, percent in 0..=100_u32, w in weights()) {
            let settled = settle(amount(pool), percent, &ratios(&w)).expect("valid");
            prop_assert_eq!(settled.fund.minor() + minors(&settled.shares).iter().sum::<i64>(), pool);
            prop_assert_eq!(i128::from(settled.fund.minor()), i128::from(pool) * i128::from(percent) / 100);
        }

        #[test]
        fn long_division_is_division(factor: u64, weight in 0..1_u128 << 60, more in 1..1_u128 << 60) {
            let total = weight + more;
            let product = u128::from(factor) * weight;
            prop_assert_eq!(multiply_divide(factor, weight, total), ((product / total) as u64, product % total));
        }
    }
}
