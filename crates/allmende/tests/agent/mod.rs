//! The member's side: the mirror and its alarms, witnesses, checks of offers, the outbox, uploads, and whole nodes at work.

mod mirror;
mod offers;
mod outbox;
mod owner;
mod upload;
mod whole;
mod witness;
