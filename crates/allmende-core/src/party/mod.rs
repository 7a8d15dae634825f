//! Parties and their keys.
