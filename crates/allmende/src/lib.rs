//! The program: the hub that hosts collaborations, the node that each member runs, and the command line for both.
//!
//! Slices by noun; each imports only to its left: ledger → party → account → collaboration → agreement → asset → repo →
//! discussion → xet → exchange → bucket → mirror → node → run →
//! contribution → risk → wire → verify → console → client → backup → agent → demo → cli. The modules here below stand under all
//! of them and know none.
//!
//! Architecture invariant: core decides, this shell acts: load, pure decision, one transaction, reply.

pub mod api;
pub mod app;
pub mod auth;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod db;
pub mod error;
pub mod extract;
pub mod faults;
pub mod git;
pub mod hmac;
pub mod idempotency;
pub mod invitations;
pub mod keyfile;
pub mod logs;
pub mod metrics;
pub mod outbound;
pub mod projection;
pub mod router;
pub mod secret;
pub mod server;
pub mod tls;

pub mod account;
pub mod agent;
pub mod asset;
pub mod backup;
pub mod bucket;
pub mod cli;
pub mod client;
pub mod collaboration;
pub mod console;
pub mod content;
pub mod demo;
pub mod discussion;
pub mod exchange;
pub mod ledger;
pub mod mirror;
pub mod node;
pub mod party;
pub mod repo;
pub mod run;
pub mod verify;
pub mod view;
pub mod wire;
pub mod witness;
pub mod xet;

pub mod hub;
