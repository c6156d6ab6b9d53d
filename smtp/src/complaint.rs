//! Saying once a second what is wrong with every message, as when the disk is full.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const INTERVAL: Duration = Duration::from_secs(1);

/// What is to be said of one kind of failure.
#[derive(Default)]
pub(crate) struct Complaint(Mutex<State>);

#[derive(Default)]
struct State {
    said_at: Option<Instant>,
    unsaid: u64,
}

impl Complaint {
    /// Counts a failure. How many there were since the last time it was said, when it is time to say so.
    pub(crate) fn count(&self) -> Option<u64> {
        let mut state = self.0.lock();
        state.unsaid += 1;
        if state.said_at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return None;
        }
        state.said_at = Some(Instant::now());
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failures_in_a_second_are_said_once() {
        let complaint = Complaint::default();
        assert_eq!(complaint.count(), Some(1));
        assert_eq!([complaint.count(), complaint.count()], [None, None]);
        complaint.0.lock().said_at = Some(Instant::now() - INTERVAL);
        assert_eq!(complaint.count(), Some(3));
    }
}
