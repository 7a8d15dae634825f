//! How members decide together.

pub mod charter;
pub mod decision;
