//! Fault points for crash tests: named places at durable writes where the process may be made to die at once.
//!
//! `ALLMENDE_FAULT=append.before_head:2` aborts, as `kill -9` would, when that point is reached the second time.
//! Without the variable a point costs one load of a static.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every fault point, in the order of a write's life. Crash tests go through this list.
pub const POINTS: &[&str] = &[
    "db.before_commit",
    "db.after_commit",
    "append.before_entries",
    "append.before_head",
    "append.after_head",
    "blob.before_sync",
    "blob.before_publish",
    "blob.after_publish",
    "upload.before_note",
    "upload.after_note",
    "seal.before_append",
    "seal.after_append",
    "round.before_append",
    "export.before_checkpoint",
    "key.before_rename",
    "key.after_rename",
    "witness.before_write",
    "witness.after_write",
];

/// Those of a push by git, which have a test of their own.
pub const PUSH_POINTS: &[&str] = &["push.before_keep", "push.before_refs", "push.after_refs"];

/// Those of a commit by the API, which have a test of their own.
pub const REF_POINTS: &[&str] = &["refs.noted", "refs.moved", "refs.indexed"];

/// Those of a release that becomes a repository, which have a test of their own.
pub const RELEASE_POINTS: &[&str] = &["release.before_commit", "release.before_ref"];

/// Those of a bundle that is taken, which have a test of their own.
pub const MIRROR_POINTS: &[&str] = &["mirror.after_xorb"];

struct Armed {
    name: String,
    nth: u64,
    seen: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn armed() -> Option<Armed> {
    let text = std::env::var("ALLMENDE_FAULT").ok()?;
    let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
    let nth = nth.parse().ok()?;
    Some(Armed { name: name.to_owned(), nth, seen: AtomicU64::new(0) })
}

/// Dies here when the environment asked for it.
///
/// The only place of the library that reads the environment: a fault has to work below every layer of settings.
pub fn point(name: &'static str) {
    debug_assert!(
        [POINTS, PUSH_POINTS, REF_POINTS, RELEASE_POINTS, MIRROR_POINTS].iter().any(|points| points.contains(&name)),
        "fault point {name} is not in the table"
    );
    let Some(armed) = ARMED.get_or_init(armed) else { return };
    if armed.name == name && armed.seen.fetch_add(1, Ordering::Relaxed) + 1 == armed.nth {
        std::process::abort();
    }
}
