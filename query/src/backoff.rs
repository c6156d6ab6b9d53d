//! How long to wait before trying again: twice as long each time, until it has gone well for a while.

use std::time::{Duration, Instant};

pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    last: Instant,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first, last: Instant::now() }
    }

    /// The pause after a failure now.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = if self.last.elapsed() > self.next + self.longest { self.first } else { self.next };
        self.next = (pause * 2).min(self.longest);
        self.last = Instant::now();
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_begin_anew_after_quiet() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        assert_eq!([(); 5].map(|()| backoff.pause()), [100, 200, 400, 500, 500].map(ms));
        std::thread::sleep(ms(1_500));
        assert_eq!(backoff.pause(), ms(100));
    }
}
