//! What happens when the resolver itself does not answer: after a few timeouts in a row it is asked for the root,
//! and if even that goes unanswered, questions fail at once for a while instead of each waiting in vain. A domain
//! whose own servers are dead cannot cause this, since the root is answered all the same.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Timeouts in a row before the resolver is suspected.
const SUSPICION: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// May a question be asked?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Ask,
    /// Ask for the root first, and tell.
    Probe,
    /// The resolver does not answer: fail at once.
    Fail,
}

#[derive(Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    timeouts: u32,
    /// When to try again; None while the resolver answers.
    until: Option<Instant>,
    pause: Duration,
    is_probing: bool,
}

impl Breaker {
    pub(super) fn leave(&self) -> Leave {
        let mut state = self.state.lock();
        let is_suspect = state.timeouts >= SUSPICION && state.until.is_none();
        match state.until {
            None if !is_suspect => Leave::Ask,
            Some(until) if Instant::now() < until => Leave::Fail,
            _ if state.is_probing => Leave::Fail,
            _ => {
                state.is_probing = true;
                Leave::Probe
            }
        }
    }

    /// The outcome of a probe.
    pub(super) fn probed(&self, is_answered: bool) {
        let mut state = self.state.lock();
        if is_answered {
            *state = State::default();
        } else {
            state.is_probing = false;
            state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            state.until = Some(Instant::now() + state.pause);
        }
    }

    pub(super) fn answered(&self) {
        self.state.lock().timeouts = 0;
    }

    pub(super) fn timed_out(&self) {
        let mut state = self.state.lock();
        state.timeouts = state.timeouts.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opens_only_when_the_root_goes_unanswered() {
        let breaker = Breaker::default();
        for _ in 0..SUSPICION {
            assert_eq!(breaker.leave(), Leave::Ask);
            breaker.timed_out();
        }
        assert_eq!(breaker.leave(), Leave::Probe);
        assert_eq!(breaker.leave(), Leave::Fail);
        breaker.probed(true);
        assert_eq!(breaker.leave(), Leave::Ask);
    }

    #[tokio::test]
    async fn probes_again_after_a_growing_pause() {
        let breaker = Breaker::default();
        (0..SUSPICION).for_each(|_| breaker.timed_out());
        assert_eq!(breaker.leave(), Leave::Probe);
        breaker.probed(false);
        assert_eq!(breaker.leave(), Leave::Fail);
        breaker.state.lock().until = Some(Instant::now());
        assert_eq!(breaker.leave(), Leave::Probe);
        breaker.probed(false);
        assert_eq!(breaker.state.lock().pause, FIRST_PAUSE * 2);
    }
}
