//! What talks to a hub, and where an organization keeps its own keys.

pub mod home;
