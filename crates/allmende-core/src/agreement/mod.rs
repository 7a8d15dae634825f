//! Terms that all members sign, and the one function that judges by them.

pub mod vocabulary;
