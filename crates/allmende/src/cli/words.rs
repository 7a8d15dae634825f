//! Small words of the command line: languages, lengths of time.

use allmende_core::agreement::vocabulary::Language;
use clap::ValueEnum;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// Chinese
    Zh,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::En => Self::En,
            Lang::Zh => Self::Zh,
        }
    }
}

/// A length of time such as `500ms`, `90s`, `30m`, `48h` or `7d`, in milliseconds.
///
/// # Errors
/// When it is written otherwise.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is no length of time: write it like 500ms, 90s, 30m, 48h or 7d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refuse()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms)).ok_or_else(refuse)
}

/// `text` as one of the codes of a closed vocabulary.
///
/// # Errors
/// When it is none; the text names all.
pub fn code<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::parse_duration_ms;

    #[test]
    fn lengths_of_time() {
        assert_eq!(parse_duration_ms("500ms"), Ok(500));
        assert_eq!(parse_duration_ms("7d"), Ok(604_800_000));
        for bad in ["", "7", "d", "1w", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration_ms(bad).is_err(), "{bad}");
        }
    }
}
