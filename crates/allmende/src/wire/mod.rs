//! Foreign protocols, translated. There are no rules and no SQL here: what may be done and how stands with the nouns.

pub mod git;
pub mod hub;
pub mod lfs;
pub mod oauth;
pub mod read;
pub mod xet;
