//! Foreign protocols, translated. There are no rules and no SQL here: what may be done and how stands with the nouns.

pub mod hub;
pub mod xet;
