//! Whose turn it is to write the index: the one that follows the log makes way for one that rebuilds.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(super) struct Turn {
    wanted: AtomicUsize,
    lock: Mutex<()>,
}

/// Counts one that waits, also when it gives up waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turn {
    /// Waits for the turn, which ends when the guard goes.
    pub(super) async fn take(&self) -> MutexGuard<'_, ()> {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.wanted);
        self.lock.lock().await
    }

    /// Whether the one whose turn it is should make way soon.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }
}
