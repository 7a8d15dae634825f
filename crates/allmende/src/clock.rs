//! The hub's clock, which never runs backwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use allmende_core::time::Timestamp;

/// Tells the time. Clones share their state.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The last time told; deadlines and arrival times rest on it.
    last: AtomicI64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    System,
    Test(AtomicI64),
}

impl Clock {
    /// The operating system's clock, held up at the latest time it told.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Inner { last: AtomicI64::new(i64::MIN), kind: Kind::System }))
    }

    /// A clock that moves only when told to.
    #[must_use]
    pub fn test(start: Timestamp) -> Self {
        Self(Arc::new(Inner { last: AtomicI64::new(i64::MIN), kind: Kind::Test(AtomicI64::new(start.0)) }))
    }

    /// The time, never earlier than any time told before.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let raw = match &self.0.kind {
            Kind::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Kind::Test(now) => now.load(Ordering::SeqCst),
        };
        Timestamp(self.0.last.fetch_max(raw, Ordering::SeqCst).max(raw))
    }

    /// Makes sure that no time before `floor` is told any more. At start the hub passes the latest arrival it stored.
    pub fn raise(&self, floor: Timestamp) {
        self.0.last.fetch_max(floor.0, Ordering::SeqCst);
    }

    /// Moves a test clock by `duration_ms`, which may be negative; the system's clock ignores it.
    pub fn advance_ms(&self, duration_ms: i64) {
        if let Kind::Test(now) = &self.0.kind {
            now.fetch_add(duration_ms, Ordering::SeqCst);
        }
    }
}
