//! The contract in words, for a lawyer to read: Markdown that is plain text too, generated from the typed fields.
//!
//! Free text is quoted and marked; whatever software does not enforce says so. One-line texts are escaped and notes are
//! quoted line by line, so that no text can pass for a clause.

use super::clause::Clause;
use super::terms::Terms;
use super::vocabulary::{Enforcer, Language};

pub mod en;
pub mod zh;

/// The whole contract.
#[must_use]
pub fn render(terms: &Terms, language: Language) -> String {
    let mut text = match language {
        Language::En => en::opening(terms),
        Language::Zh => zh::opening(terms),
    };
    for clause in &terms.clause {
        text.push_str(&clause_prose(clause, language));
        text.push('\n');
    }
    text.push_str(&match language {
        Language::En => en::closing(terms),
        Language::Zh => zh::closing(terms),
    });
    text
}

/// One clause as a paragraph of Markdown, with its free text and who enforces it.
#[must_use]
pub fn clause_prose(clause: &Clause, language: Language) -> String {
    let (heading, body, marks) = match language {
        Language::En => (en::heading(&clause.rule), en::clause(&clause.rule), en::MARKS),
        Language::Zh => (zh::heading(&clause.rule), zh::clause(&clause.rule), zh::MARKS),
    };
    let mut text = format!("**{} {heading}** {body}", clause.id);
    let record_only = clause.rule.enforced_by() == [Enforcer::Record];
    if record_only {
        text.push(' ');
        text.push_str(marks.record);
    } else if let Some(shown) =
        super::kinds::KINDS.iter().find(|k| k.kind == clause.rule.kind()).and_then(|k| match language {
            Language::En => k.shown,
            Language::Zh => k.shown_zh,
        })
    {
        text.push_str(&format!("{}{shown}{}", marks.open, marks.close));
    }
    text.push('\n');
    if let Some(note) = &clause.note {
        text.push_str(&quoted(note, marks));
    }
    text
}

/// The fixed marks of a language.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// Before free text.
    pub note: &'static str,
    /// After a clause that only stands in the record.
    pub record: &'static str,
    /// Opens a remark.
    pub open: &'static str,
    /// Closes a remark.
    pub close: &'static str,
}

/// Free text as a quotation, every line marked as such.
fn quoted(note: &str, marks: Marks) -> String {
    let mut text = format!("\n> {}\n", marks.note);
    for line in note.lines() {
        text.push_str(format!("> {}", escaped(line)).trim_end());
        text.push('\n');
    }
    text
}

/// A text of the signers with everything that Markdown or HTML would read as markup made plain.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '#' | '|') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Items joined as a language joins them.
fn joined<T: std::fmt::Display>(items: &[T], comma: &str, last: &str) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    match items.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{}{last}{end}", rest.join(comma)),
    }
}
