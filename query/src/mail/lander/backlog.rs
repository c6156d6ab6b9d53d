//! Rows that are in the hot store and not yet in the tables: bounded, between the task that applies and the one that lands.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::LanderOptions;
use crate::mail::rows::Row;
use crate::tables::Positions;

/// What one landing takes to the tables.
#[derive(Default)]
pub(super) struct Load {
    /// By partition, ascending by `seq`.
    pub(super) rows: Vec<(u32, Row)>,
    /// By partition, the offset after the last record that `rows` were made of.
    pub(super) ends: Positions,
    bytes: usize,
}

#[derive(Default)]
struct Held {
    waiting: Load,
    landing_rows: usize,
    landing_bytes: usize,
}

impl Held {
    fn rows(&self) -> usize {
        self.waiting.rows.len() + self.landing_rows
    }

    fn bytes(&self) -> usize {
        self.waiting.bytes + self.landing_bytes
    }

    fn tell(&self) {
        metrics::gauge!("millrace_lander_unlanded_rows").set(self.rows() as f64);
        metrics::gauge!("millrace_lander_unlanded_bytes").set(self.bytes() as f64);
    }
}

pub(super) struct Backlog {
    options: LanderOptions,
    held: Mutex<Held>,
    is_due: Notify,
    has_space: Notify,
}

impl Backlog {
    pub(super) fn new(options: LanderOptions) -> Self {
        Self { options, held: Mutex::default(), is_due: Notify::new(), has_space: Notify::new() }
    }

    /// Adds what was applied up to `end`.
    pub(super) fn push(&self, partition: u32, rows: Vec<Row>, bytes: usize, end: u64) {
        let mut held = self.held.lock();
        let waiting = &mut held.waiting;
        waiting.rows.extend(rows.into_iter().map(|row| (partition, row)));
        waiting.bytes += bytes;
        waiting.ends.insert(partition, end);
        if waiting.rows.len() >= self.options.max_rows || waiting.bytes >= self.options.max_bytes {
            self.is_due.notify_one();
        }
        held.tell();
    }

    /// Waits until it is time to land: the interval has passed or enough has gathered.
    pub(super) async fn due(&self) {
        let _ = tokio::time::timeout(self.options.interval, self.is_due.notified()).await;
    }

    /// Takes what waits; `None` when there are no rows.
    pub(super) fn take(&self) -> Option<Load> {
        let mut held = self.held.lock();
        if held.waiting.rows.is_empty() {
            return None;
        }
        let load = std::mem::take(&mut held.waiting);
        held.landing_rows += load.rows.len();
        held.landing_bytes += load.bytes;
        Some(load)
    }

    /// The load has landed.
    pub(super) fn landed(&self, rows: usize, load: &Load) {
        let mut held = self.held.lock();
        held.landing_rows = held.landing_rows.saturating_sub(rows);
        held.landing_bytes = held.landing_bytes.saturating_sub(load.bytes);
        held.tell();
        self.has_space.notify_one();
    }

    fn is_full(&self) -> bool {
        let held = self.held.lock();
        held.rows() >= self.options.max_unlanded_rows || held.bytes() >= self.options.max_unlanded_bytes
    }

    /// Waits while more is unlanded than memory should hold: what tables cannot take slows what is applied.
    pub(super) async fn space(&self) {
        while self.is_full() {
            self.is_due.notify_one();
            let _ = tokio::time::timeout(Duration::from_millis(200), self.has_space.notified()).await;
        }
    }
}
