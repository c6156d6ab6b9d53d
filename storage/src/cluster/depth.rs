//! How much waits or is under way, as gauges.

use metrics::Gauge;

/// Adds to a gauge until it is dropped, however that comes about.
pub(super) struct Depth {
    gauge: Gauge,
    by: f64,
}

impl Depth {
    pub(super) fn new(gauge: Gauge, by: usize) -> Self {
        let by = by as f64;
        gauge.increment(by);
        Self { gauge, by }
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        self.gauge.decrement(self.by);
    }
}
