//! What each party's part was worth: exact Shapley values and leave-one-out over measured coalitions.
//!
//! Utilities are integer counts (correct answers on the held-out rows), so every value here is an exact rational and the
//! same on every machine.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::run::plan::{Coalition, MAX_SLOTS};

/// An exact fraction in lowest terms, its denominator positive. In JSON `{"den":"3","num":"-2"}`, because neither part
/// need fit a JSON integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ratio {
    num: i128,
    den: i128,
}

/// Why a fraction cannot be represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RatioError {
    /// The denominator is zero.
    #[error("a fraction's denominator is not zero")]
    ZeroDenominator,
    /// Numerator or denominator leaves 128 bits.
    #[error("a fraction does not fit 128 bits")]
    Overflow,
}

/// Greatest common divisor; of zero and zero, zero.
pub(crate) const fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Ratio {
    /// Zero.
    pub const ZERO: Self = Self { num: 0, den: 1 };
    /// One.
    pub const ONE: Self = Self { num: 1, den: 1 };

    /// `num / den` in lowest terms.
    ///
    /// # Errors
    /// [`RatioError`] when `den` is zero or the result does not fit.
    pub fn new(num: i128, den: i128) -> Result<Self, RatioError> {
        if den == 0 {
            return Err(RatioError::ZeroDenominator);
        }
        let divisor = gcd(num.unsigned_abs(), den.unsigned_abs());
        // Dividing magnitudes first lets i128::MIN through wherever the reduced value fits.
        let fit = |part: u128| i128::try_from(part).map_err(|_| RatioError::Overflow);
        let (n, d) = (fit(num.unsigned_abs() / divisor)?, fit(den.unsigned_abs() / divisor)?);
        Ok(Self { num: if (num < 0) == (den < 0) { n } else { -n }, den: d })
    }

    /// A whole number.
    #[must_use]
    pub const fn whole(value: i64) -> Self {
        Self { num: value as i128, den: 1 }
    }

    /// The numerator, in lowest terms; it carries the sign.
    #[must_use]
    pub const fn num(self) -> i128 {
        self.num
    }

    /// The denominator, in lowest terms; positive.
    #[must_use]
    pub const fn den(self) -> i128 {
        self.den
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.num < 0
    }

    /// The sum.
    ///
    /// # Errors
    /// [`RatioError::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, RatioError> {
        // Denominators are positive and their common divisor divides them, so the casts keep the value.
        let common = gcd(self.den.unsigned_abs(), other.den.unsigned_abs()) as i128;
        let (left, right) = (other.den / common, self.den / common);
        let sum = || {
            let num = self.num.checked_mul(left)?.checked_add(other.num.checked_mul(right)?)?;
            Some((num, self.den.checked_mul(left)?))
        };
        let (num, den) = sum().ok_or(RatioError::Overflow)?;
        Self::new(num, den)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`RatioError::Overflow`].
    pub fn checked_sub(self, other: Self) -> Result<Self, RatioError> {
        // The constructor never yields i128::MIN as a numerator, so negation is safe.
        self.checked_add(Self { num: -other.num, den: other.den })
    }

    /// The nearest double, for display only: never decide by it.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }
}

impl Ord for Ratio {
    /// Exact for all values: compares continued fractions, which cannot overflow as cross products can.
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut a, mut b) = (*self, *other);
        loop {
            let whole = a.num.div_euclid(a.den).cmp(&b.num.div_euclid(b.den));
            if whole != Ordering::Equal {
                return whole;
            }
            match (a.num.rem_euclid(a.den), b.num.rem_euclid(b.den)) {
                (0, 0) => return Ordering::Equal,
                (0, _) => return Ordering::Less,
                (_, 0) => return Ordering::Greater,
                // Of two fractions below one, the smaller has the larger reciprocal: so the sides change places.
                (x, y) => (a, b) = (Self { num: b.den, den: y }, Self { num: a.den, den: x }),
            }
        }
    }
}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}

impl fmt::Debug for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The written form of a [`Ratio`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    num: String,
    den: String,
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written { num: self.num.to_string(), den: self.den.to_string() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { num, den } = Written::deserialize(deserializer)?;
        let ratio = num.parse().ok().zip(den.parse().ok()).and_then(|(num, den)| Self::new(num, den).ok());
        // One spelling: lowest terms, positive denominator, no signs or zeros to spare.
        ratio
            .filter(|ratio| ratio.num.to_string() == num && ratio.den.to_string() == den)
            .ok_or_else(|| serde::de::Error::custom("a ratio is two decimal integers in lowest terms, den positive"))
    }
}

/// Why contributions cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContributionError {
    /// Outside 1 to [`MAX_SLOTS`].
    #[error("contributions are measured among 1 to {MAX_SLOTS} parties, not {0}")]
    Parties(usize),
    /// A coalition was not measured.
    #[error("the coalition of slots {0:?} has no measured value")]
    Missing(Coalition),
    /// A result leaves 128 bits, which no 64-bit utility can cause.
    #[error(transparent)]
    Ratio(#[from] RatioError),
}

fn check_parties(n: usize) -> Result<(), ContributionError> {
    if (1..=MAX_SLOTS).contains(&n) { Ok(()) } else { Err(ContributionError::Parties(n)) }
}

/// The exact Shapley value of each of `n` slots.
///
/// `φ_i = Σ_{S ∌ i} |S|! (n − 1 − |S|)! / n! · (v(S ∪ i) − v(S))` (Shapley 1953), in the unit of the utility. `utility` is
/// asked for every coalition, the empty one included: give its value, 0 where doing nothing is worth nothing.
///
/// # Errors
/// [`ContributionError::Missing`] names the first coalition without a value.
pub fn shapley(n: usize, utility: impl Fn(Coalition) -> Option<i64>) -> Result<Vec<Ratio>, ContributionError> {
    check_parties(n)?;
    let values: Vec<i128> = (0..=Coalition::all(n).0)
        .map(|mask| utility(Coalition(mask)).map(i128::from).ok_or(ContributionError::Missing(Coalition(mask))))
        .collect::<Result<_, _>>()?;
    let factorial = |k: usize| (1..=k as i128).product::<i128>();
    let weights: Vec<i128> = (0..n).map(|size| factorial(size) * factorial(n - 1 - size)).collect();
    (0..n)
        .map(|slot| {
            let bit = 1 << slot;
            // At most 10! · 2^65 < 2^87: the sum cannot overflow.
            let sum: i128 = (0..values.len())
                .filter(|mask| mask & bit == 0)
                .map(|mask| weights[mask.count_ones() as usize] * (values[mask | bit] - values[mask]))
                .sum();
            Ok(Ratio::new(sum, factorial(n))?)
        })
        .collect()
}

/// What the whole loses without each of `n` slots: `v(N) − v(N \ i)`, in the unit of the utility. Cheaper than Shapley
/// values, but two parties with the same data each look worthless.
///
/// # Errors
/// [`ContributionError::Missing`] names the first coalition without a value.
pub fn leave_one_out(n: usize, utility: impl Fn(Coalition) -> Option<i64>) -> Result<Vec<Ratio>, ContributionError> {
    check_parties(n)?;
    let all = Coalition::all(n);
    let value = |c: Coalition| utility(c).map(i128::from).ok_or(ContributionError::Missing(c));
    let whole = value(all)?;
    (0..n).map(|slot| Ok(Ratio::new(whole - value(Coalition(all.0 & !(1 << slot)))?, 1)?)).collect()
}

/// What a negative contribution counts for when benefits are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Negative {
    /// Nothing: nobody pays for having taken part.
    Zero,
}

/// How benefits are shared when no contribution is above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllZero {
    /// Equally.
    Equal,
}

/// The weights by which benefits are shared: never negative, and never all zero. They need not add up to one.
#[must_use]
pub fn shares(values: &[Ratio], negative: Negative, all_zero: AllZero) -> Vec<Ratio> {
    let Negative::Zero = negative;
    let weights: Vec<Ratio> = values.iter().map(|&value| value.max(Ratio::ZERO)).collect();
    if weights.iter().any(|&weight| weight > Ratio::ZERO) {
        return weights;
    }
    let AllZero::Equal = all_zero;
    vec![Ratio::ONE; values.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ratio(num: i128, den: i128) -> Ratio {
        Ratio::new(num, den).expect("fits")
    }

    fn sum(values: &[Ratio]) -> Ratio {
        values.iter().fold(Ratio::ZERO, |a, &b| a.checked_add(b).expect("fits"))
    }

    /// Shapley's own definition: the mean marginal contribution over all orders of arrival.
    fn by_orders(n: usize, values: &[i64]) -> Vec<Ratio> {
        fn visit(order: &mut Vec<usize>, n: usize, values: &[i64], totals: &mut [i128], orders: &mut i128) {
            if order.len() == n {
                *orders += 1;
                let mut mask = 0;
                for &slot in order.iter() {
                    totals[slot] += i128::from(values[mask | 1 << slot]) - i128::from(values[mask]);
                    mask |= 1 << slot;
                }
            }
            for slot in 0..n {
                if !order.contains(&slot) {
                    order.push(slot);
                    visit(order, n, values, totals, orders);
                    order.pop();
                }
            }
        }
        let (mut totals, mut orders) = (vec![0; n], 0);
        visit(&mut Vec::new(), n, values, &mut totals, &mut orders);
        totals.into_iter().map(|total| ratio(total, orders)).collect()
    }

    fn of(values: &[i64]) -> impl Fn(Coalition) -> Option<i64> + '_ {
        |c| values.get(usize::from(c.0)).copied()
    }

    #[test]
    fn the_glove_game() {
        // Slots 0 and 1 have a left glove each, slot 2 the only right one: a textbook's 1/6, 1/6, 2/3.
        let pairs = |c: Coalition| Some(i64::from(c.contains(2) && c.len() > 1));
        assert_eq!(shapley(3, pairs), Ok(vec![ratio(1, 6), ratio(1, 6), ratio(2, 3)]));
        assert_eq!(leave_one_out(3, pairs), Ok(vec![Ratio::ZERO, Ratio::ZERO, Ratio::ONE]));
    }

    #[test]
    fn a_missing_coalition_is_named() {
        let missing = |c: Coalition| (c.0 != 0b101).then_some(1);
        assert_eq!(shapley(3, missing), Err(ContributionError::Missing(Coalition(0b101))));
        assert_eq!(leave_one_out(3, missing), Err(ContributionError::Missing(Coalition(0b101))));
        let text = ContributionError::Missing(Coalition(0b101)).to_string();
        assert_eq!(text, "the coalition of slots {0, 2} has no measured value");
        assert_eq!(shapley(0, missing), Err(ContributionError::Parties(0)));
        assert_eq!(shapley(11, missing), Err(ContributionError::Parties(11)));
    }

    #[test]
    fn ten_parties_with_the_largest_utilities_fit() {
        let extreme = |c: Coalition| Some(if c.len().is_multiple_of(2) { i64::MIN } else { i64::MAX });
        let values = shapley(10, extreme).expect("fits");
        assert_eq!(sum(&values), Ratio::ZERO);
        let values = shapley(10, |c| Some(if c.contains(3) { i64::MAX } else { i64::MIN })).expect("fits");
        assert_eq!(sum(&values), ratio(i128::from(u64::MAX), 1));
        assert_eq!(values[3], sum(&values));
    }

    #[test]
    fn shares_are_never_negative_and_never_all_zero() {
        let shares = |v: &[Ratio]| shares(v, Negative::Zero, AllZero::Equal);
        assert_eq!(shares(&[ratio(1, 2), ratio(-1, 3), Ratio::ZERO]), [ratio(1, 2), Ratio::ZERO, Ratio::ZERO]);
        assert_eq!(shares(&[ratio(-1, 2), Ratio::ZERO]), [Ratio::ONE, Ratio::ONE]);
        assert_eq!(shares(&[]), []);
    }

    #[test]
    fn ratios_have_one_text() {
        let text = serde_json::to_string(&ratio(-4, 6)).expect("plain");
        assert_eq!(text, r#"{"num":"-2","den":"3"}"#);
        assert_eq!(serde_json::from_str::<Ratio>(&text).ok(), Some(ratio(2, -3)));
        for (num, den) in
            [("2", "4"), ("1", "0"), ("1", "-1"), ("+1", "2"), ("01", "2"), ("0", "2"), ("-0", "1"), ("", "1")]
        {
            let text = format!(r#"{{"num":"{num}","den":"{den}"}}"#);
            assert!(serde_json::from_str::<Ratio>(&text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Ratio>(r#"{"num":"1","den":"2","x":"3"}"#).is_err());
        assert_eq!(Ratio::new(1, 0), Err(RatioError::ZeroDenominator));
        assert_eq!(Ratio::new(i128::MIN, 1), Err(RatioError::Overflow));
        assert_eq!(Ratio::new(i128::MIN, i128::MIN), Ok(Ratio::ONE));
        let big = ratio(i128::MAX, 1);
        assert_eq!(big.checked_add(big), Err(RatioError::Overflow));
        assert!(ratio(i128::MAX, i128::MAX - 1) < ratio(i128::MAX - 1, i128::MAX - 2));
        assert!(ratio(-i128::MAX, 2) < ratio(-i128::MAX, 4) && ratio(-1, 3) > ratio(-1, 2));
    }

    fn game(max: usize) -> impl Strategy<Value = (usize, Vec<i64>)> {
        (1..=max).prop_flat_map(|n| (Just(n), prop::collection::vec(-1_000_000_i64..1_000_000, 1 << n)))
    }

    proptest! {
        #[test]
        fn equals_the_definition_by_orders((n, values) in game(5)) {
            prop_assert_eq!(shapley(n, of(&values)).expect("measured"), by_orders(n, &values));
        }

        #[test]
        fn efficiency((n, values) in game(8)) {
            let whole = ratio(i128::from(values[values.len() - 1] - values[0]), 1);
            prop_assert_eq!(sum(&shapley(n, of(&values)).expect("measured")), whole);
        }

        #[test]
        fn additivity((n, v) in game(6), factor in -9_i64..9) {
            let w: Vec<i64> = v.iter().enumerate().map(|(i, x)| x * factor + (i * i) as i64).collect();
            let both: Vec<i64> = v.iter().zip(&w).map(|(a, b)| a + b).collect();
            let value = |g: &[i64]| shapley(n, of(g)).expect("measured");
            let added: Vec<Ratio> =
                value(&v).into_iter().zip(value(&w)).map(|(a, b)| a.checked_add(b).expect("fits")).collect();
            prop_assert_eq!(value(&both), added);
        }

        #[test]
        fn a_slot_that_changes_nothing_gets_nothing((n, values) in game(7), slot: usize) {
            let slot = slot % n;
            let without = |c: Coalition| values.get(usize::from(c.0 & !(1 << slot))).copied();
            prop_assert_eq!(shapley(n, without).expect("measured")[slot], Ratio::ZERO);
            prop_assert_eq!(leave_one_out(n, without).expect("measured")[slot], Ratio::ZERO);
        }

        #[test]
        fn slots_that_do_the_same_get_the_same((n, values) in game(7), a: usize, b: usize) {
            let (a, b) = (a % n, b % n);
            // The value depends only on how many of a and b are in.
            let even = |c: Coalition| {
                let rest = c.0 & !(1 << a) & !(1 << b);
                let of_both = u16::from(c.contains(a)) + u16::from(c.contains(b));
                values.get(usize::from(rest)).map(|v| v + i64::from(of_both) * 17 + i64::from(rest))
            };
            let result = shapley(n, even).expect("measured");
            prop_assert_eq!(result[a], result[b]);
        }

        #[test]
        fn order_is_that_of_cross_products(a: i32, b in 1..i32::MAX, c: i32, d in 1..i32::MAX) {
            let (x, y) = (ratio(a.into(), b.into()), ratio(c.into(), d.into()));
            prop_assert_eq!(x.cmp(&y), (i64::from(a) * i64::from(d)).cmp(&(i64::from(c) * i64::from(b))));
            prop_assert_eq!(x.checked_sub(y).expect("fits").is_negative(), x < y);
        }

        #[test]
        fn ratios_round_trip(num: i64, den in 1..i64::MAX) {
            let value = ratio(num.into(), den.into());
            let bytes = crate::canonical::to_bytes(&value).expect("strict");
            prop_assert_eq!(crate::canonical::from_bytes::<Ratio>(&bytes), Ok(value));
        }
    }
}
