//! Terms that all members sign, and the one function that judges by them.
//!
//! [`terms::Terms`] is validated when it is made and cannot be changed afterwards, so everything that takes one may rely
//! on its rules. [`check::check`] judges a request, [`explain`] says why in words, [`prose`] writes the contract out,
//! [`lint`] finds contradictions and [`diff`] says who must consent to an amendment.

pub mod check;
pub mod clause;
pub mod diff;
pub mod draft;
pub mod explain;
pub mod kinds;
pub mod lint;
pub mod missing;
pub mod pattern;
pub mod prose;
pub mod terms;
pub mod vocabulary;

#[cfg(test)]
mod tests;
