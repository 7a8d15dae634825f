//! A bell for each log: rings when something beside its entries changed that others wait for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// The bells. What rings is a hint; the database decides.
#[derive(Debug, Default)]
pub struct Bells(Mutex<HashMap<String, watch::Sender<u64>>>);

impl Bells {
    /// Hears the bell of `log` from now on.
    #[must_use]
    pub fn watch(&self, log: &str) -> watch::Receiver<u64> {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(log.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Rings the bell of `log`.
    pub fn notify(&self, log: &str) {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(log) {
            bell.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}
