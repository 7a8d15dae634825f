//! Counters and latencies in Prometheus' text format. Labels are routes and names of ours, never names of parties.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in milliseconds.
const BUCKETS_MS: [u64; 10] = [1, 5, 10, 25, 50, 100, 500, 1_000, 5_000, 30_000];

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident = $metric:literal;)+) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter {
            $($(#[doc = $doc])+ $name,)+
        }
        const COUNTERS: &[(&str, &str)] = &[$(($metric, concat!($($doc),+)),)+];
    };
}

counters! {
    /// Entries appended to logs.
    Appends = "allmende_log_appends_total";
    /// Bytes of objects received.
    BytesIn = "allmende_blob_received_bytes_total";
    /// Bytes of objects sent.
    BytesOut = "allmende_blob_sent_bytes_total";
    /// Handlers that panicked.
    Panics = "allmende_panics_total";
    /// Connections accepted.
    Connections = "allmende_connections_total";
}

#[derive(Debug, Default, Clone)]
struct Latency {
    buckets: [u64; BUCKETS_MS.len()],
    count: u64,
    sum_s: f64,
}

/// The registry.
#[derive(Debug)]
pub struct Metrics {
    counters: Vec<AtomicU64>,
    requests: Mutex<BTreeMap<(String, String, u16), u64>>,
    latencies: Mutex<BTreeMap<String, Latency>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let counters = COUNTERS.iter().map(|_| AtomicU64::new(0)).collect();
        Self { counters, requests: Mutex::default(), latencies: Mutex::default() }
    }
}

/// A panic elsewhere leaves numbers that are still numbers.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Metrics {
    /// Adds `n` to a counter.
    pub fn add(&self, counter: Counter, n: u64) {
        self.counters[counter as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Notes one answered request. `route` is the pattern, not the path.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        *lock(&self.requests).entry((method.to_owned(), route.to_owned(), status)).or_default() += 1;
        let mut latencies = lock(&self.latencies);
        let latency = latencies.entry(route.to_owned()).or_default();
        for (bucket, &bound_ms) in latency.buckets.iter_mut().zip(&BUCKETS_MS) {
            *bucket += u64::from(took <= Duration::from_millis(bound_ms));
        }
        latency.count += 1;
        latency.sum_s += took.as_secs_f64();
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        for ((name, help), value) in COUNTERS.iter().zip(&self.counters) {
            let value = value.load(Ordering::Relaxed);
            let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} counter\n{name} {value}", help.trim());
        }
        out.push_str("# HELP allmende_requests_total Requests answered.\n# TYPE allmende_requests_total counter\n");
        for ((method, route, status), count) in &*lock(&self.requests) {
            let _ = writeln!(
                out,
                "allmende_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
            );
        }
        let name = "allmende_request_seconds";
        let _ =
            writeln!(out, "# HELP {name} Time from a request's head to its answer's head.\n# TYPE {name} histogram");
        for (route, latency) in &*lock(&self.latencies) {
            for (count, &bound_ms) in latency.buckets.iter().zip(&BUCKETS_MS) {
                let le = Duration::from_millis(bound_ms).as_secs_f64();
                let _ = writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"{le}\"}} {count}");
            }
            let Latency { count, sum_s, .. } = latency;
            let _ = writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "{name}_sum{{route=\"{route}\"}} {sum_s}\n{name}_count{{route=\"{route}\"}} {count}");
        }
        out
    }
}
