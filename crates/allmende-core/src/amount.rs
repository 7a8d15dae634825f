//! Money in the smallest unit of its currency, as exact integers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest amount, in minor units: leaves room to add 2^16 amounts without overflow.
pub const MAX_MINOR: i64 = i64::MAX >> 16;

/// A non-negative amount in minor units (cents). In JSON a decimal string of minor units, because a 64-bit number does
/// not survive every JSON reader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i64);

/// Why an amount was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    /// Not digits, or not in the one canonical form.
    #[error("{0:?} is not an amount: write it like 10000.00")]
    Text(String),
    /// Negative or above [`MAX_MINOR`].
    #[error("an amount is between 0 and {MAX_MINOR} minor units")]
    Range,
}

impl Amount {
    /// An amount of `minor` minor units.
    ///
    /// # Errors
    /// [`InvalidAmount::Range`] when negative or too large.
    pub const fn from_minor(minor: i64) -> Result<Self, InvalidAmount> {
        if minor < 0 || minor > MAX_MINOR { Err(InvalidAmount::Range) } else { Ok(Self(minor)) }
    }

    /// The amount in minor units.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// Reads what a person types: `10000`, `10000.5` or `10000.00`.
    ///
    /// # Errors
    /// [`InvalidAmount`] for anything else.
    pub fn parse_major(text: &str) -> Result<Self, InvalidAmount> {
        let refuse = || InvalidAmount::Text(text.chars().take(40).collect());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
            return Err(refuse());
        }
        let whole: i64 = whole.parse().map_err(|_| InvalidAmount::Range)?;
        let cents: i64 = fraction.parse().map_err(|_| refuse())?;
        let cents = if fraction.len() == 1 { cents * 10 } else { cents };
        let minor = whole.checked_mul(100).and_then(|w| w.checked_add(cents)).ok_or(InvalidAmount::Range)?;
        Self::from_minor(minor)
    }
}

impl fmt::Display for Amount {
    /// Major units with thousands separators: `10,000.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = (self.0 / 100).to_string();
        let mut grouped = String::with_capacity(whole.len() + whole.len() / 3 + 3);
        for (i, digit) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        f.pad(&format!("{grouped}.{:02}", self.0 % 100))
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} minor", self.0)
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;
    /// Reads the canonical text: minor units in decimal.
    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let minor: i64 = text.parse().map_err(|_| InvalidAmount::Text(text.chars().take(40).collect()))?;
        if minor.to_string() != text {
            return Err(InvalidAmount::Text(text.chars().take(40).collect()));
        }
        Self::from_minor(minor)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_limits() {
        assert_eq!(Amount::parse_major("10000.00").map(Amount::minor), Ok(1_000_000));
        assert_eq!(Amount::parse_major("0.5").map(Amount::minor), Ok(50));
        assert_eq!(Amount::parse_major("10000").map(|a| a.to_string()), Ok("10,000.00".to_owned()));
        for bad in ["", ".", "1.", "1.234", "-1", "1e3", "１", "99999999999999999999"] {
            assert!(Amount::parse_major(bad).is_err(), "{bad}");
        }
        assert!("+5".parse::<Amount>().is_err() && "05".parse::<Amount>().is_err());
        assert!(Amount::from_minor(MAX_MINOR).is_ok() && Amount::from_minor(MAX_MINOR + 1).is_err());
    }
}
