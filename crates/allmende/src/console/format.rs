//! Small pieces of pages: times, digests, states, tables.

use maud::{Markup, html};

use super::text::Lang;

/// A UTC instant as the views write it, to the second, for people and programs.
pub fn time(instant: &str) -> Markup {
    let readable = instant.get(..19).map_or_else(|| instant.to_owned(), |seconds| seconds.replace('T', " "));
    html! { time datetime=(instant) title=(instant) { (readable) } }
}

/// An instant, or a dash.
pub fn time_or_dash(instant: Option<&str>) -> Markup {
    html! { @match instant { Some(instant) => (time(instant)), None => span.muted { "–" } } }
}

/// A digest or key by its first twelve digits; the whole one where a pointer rests.
pub fn short(text: &str) -> Markup {
    let digits = text.split_once(':').map_or(text, |(_, digits)| digits);
    let short = digits.get(..12).unwrap_or(digits);
    html! { code.digest title=(text) { (short) } }
}

/// A digest or key in full, wherever a line may end.
pub fn full(text: &str) -> Markup {
    html! { code.digest.whole { (text) } }
}

/// A state as a small label. The colour only repeats what the word says.
pub fn status(code: &str, lang: Lang) -> Markup {
    let tone = match code {
        "in-force" | "passed" | "finished" | "complete" | "accepted" | "yes" => "good",
        "forbidden" | "rejected" | "failed" | "refused" | "no" | "dropped" => "bad",
        "started" | "open" | "approved" | "active" | "offered" | "proposed" => "live",
        _ => "calm",
    };
    html! { span class={ "status " (tone) } { (lang.code_in_words(code)) } }
}

/// A table that scrolls in its own box on narrow screens, by touch and by keyboard.
pub fn table(caption: &str, head: &Markup, rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { span { (caption) } }
                thead { tr { (head) } }
                tbody { (rows) }
            }
        }
    }
}

/// A number with thin spaces between thousands.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        assert_eq!(super::number(1), "1");
        assert_eq!(super::number(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
