//! Licences: under which a work may stand, given what it was made from. [`judge()`] is the pure rule, [`TABLE`] what it knows.
//!
//! It is help for people, not counsel: it says what the texts of well-known licences ask, and never yes where it does not
//! know. Releases are judged by it on every replay, so a row that stands in the table keeps its meaning for ever.

mod judge;
mod spdx;
mod stated;
mod table;

pub use judge::{Answer, Claim, Obligation, Relation, Source, Verdict, judge};
pub use spdx::{COUNT as SPDX_COUNT, is_listed};
pub use stated::{Stated, UnknownLicence};
pub use table::{Licence, Onward, TABLE, find};

#[cfg(test)]
mod tests;
