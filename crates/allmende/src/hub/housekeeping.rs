//! Housekeeping: what piles up and nobody needs any more is thrown away, while the hub runs.
//!
//! Everything here may be done twice, late, or by several processes of the same hub at once.

use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use allmende_core::time::Timestamp;
use futures::FutureExt as _;

use crate::account::device;
use crate::app::App;
use crate::db::DbError;
use crate::metrics::Counter;
use crate::xet::XetError;
use crate::xet::collect::{How, Place, collect};
use crate::{auth, exchange, idempotency, invitations, run, transaction};

/// How often it is done.
const EVERY: Duration = Duration::from_secs(3_600);
/// In which of these rounds the large files are looked through: not at the start, and then once a day.
const COLLECT_EVERY: u64 = 24;
/// How long a token or an invitation that ended is still shown to its owner, in seconds.
const SHOWN_AFTER_ITS_END_S: u64 = 86_400;
/// How long a delivery of a webhook is shown after its end, in seconds.
const DELIVERY_SHOWN_S: u64 = 14 * 86_400;

/// What was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Uploads that were never sealed.
    pub uploads: u64,
    /// Files that were never finished.
    pub files: u64,
    /// Parts of large files that were never joined.
    pub parts: u64,
    /// Pushes that a crash broke off.
    pub pushes: u64,
    /// Answers kept for idempotency keys.
    pub answers: u64,
    /// Tokens that ended.
    pub tokens: u64,
    /// Invitations that ended.
    pub invitations: u64,
    /// Sign-ins of devices that are over.
    pub devices: u64,
    /// Rows about repositories, collections and webhooks that are gone, and deliveries that ended long ago.
    pub exchange: u64,
}

/// Does it again and again until the hub stops.
pub(super) async fn keep(app: App) {
    let mut round = 0_u64;
    while !app.closing.is_cancelled() {
        if round % COLLECT_EVERY == 1 {
            collect_garbage(&app).await;
        }
        round += 1;
        let swept = sweep(&app).await;
        if swept != Swept::default() {
            tracing::info!(?swept, "what nobody needs any more is gone");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = app.closing.cancelled() => {}
        }
    }
}

/// Removes large files and parts of them that nothing has needed for long. A hub that stops does not wait for it: what was
/// done is done.
async fn collect_garbage(app: &App) {
    let place = Place { db: &app.db, blobs: &app.blobs, git: &app.git };
    let min_age = Duration::from_secs(app.config.gc_min_age_s);
    let how = How { min_age, dry_run: false, now: &|| app.clock.now() };
    let work = async {
        let report = collect(place, how).await?;
        if report.removed.count > 0 {
            tracing::info!(removed = ?report.removed, waiting = ?report.waiting, "large files that nothing needs are gone");
        }
        Ok::<_, XetError>(report.removed.count)
    };
    tokio::select! {
        _ = part(app, "garbage", work) => {}
        () = app.closing.cancelled() => {}
    }
}

/// Does it once. What fails is logged and does not keep the rest from being done.
pub async fn sweep(app: &App) -> Swept {
    let ago = |seconds| app.clock.now().plus_ms(-i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000));
    let answers = async |before: Timestamp| transaction!(app.db, tx => { idempotency::forget(tx, before).await });
    let tokens = async |before: Timestamp| transaction!(app.db, tx => { auth::forget(tx, before).await });
    let invitations = async |before: Timestamp| transaction!(app.db, tx => { invitations::forget(tx, before).await });
    let devices = async |before: Timestamp| transaction!(app.db, tx => { device::forget(tx, before).await });
    let unfinished = Duration::from_secs(app.config.upload_max_age_s);
    Swept {
        uploads: part(app, "uploads", run::upload::sweep(app)).await,
        files: part(app, "files", app.blobs.sweep_unfinished(unfinished)).await,
        parts: part(app, "parts", app.blobs.sweep_parts(unfinished)).await,
        pushes: part(app, "pushes", app.git.sweep_incoming(unfinished)).await,
        answers: part::<DbError>(app, "answers", answers(ago(app.config.idempotency_max_age_s))).await,
        tokens: part::<DbError>(app, "tokens", tokens(ago(SHOWN_AFTER_ITS_END_S))).await,
        invitations: part::<DbError>(app, "invitations", invitations(ago(SHOWN_AFTER_ITS_END_S))).await,
        devices: part::<DbError>(app, "devices", devices(ago(SHOWN_AFTER_ITS_END_S))).await,
        exchange: part(app, "exchange", exchange::sweep(app, ago(DELIVERY_SHOWN_S))).await,
    }
}

async fn part<E: StdError>(app: &App, what: &str, work: impl Future<Output = Result<u64, E>>) -> u64 {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(count)) => count,
        Ok(Err(error)) => {
            tracing::warn!(what, ?error, "housekeeping failed and is tried again later");
            0
        }
        Err(_) => {
            app.metrics.add(Counter::Panics, 1);
            tracing::error!(what, "housekeeping panicked");
            0
        }
    }
}
