use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Tries of one request until a deadline: each is waited for twice as long as the one before, with a growing pause
/// between.
pub(super) struct Attempts {
    deadline: Instant,
    timeout: Duration,
    pause: Duration,
}

/// How an attempt ended.
pub(super) enum Attempt<T> {
    Answered(object_store::Result<T>),
    /// What became of it, nobody knows.
    Silent,
}

impl Attempts {
    pub(super) fn new(within: Duration, first_timeout: Duration) -> Self {
        Self { deadline: Instant::now() + within, timeout: first_timeout, pause: FIRST_PAUSE }
    }

    pub(super) async fn attempt<T>(&mut self, request: impl Future<Output = object_store::Result<T>>) -> Attempt<T> {
        let timeout = self.timeout.min(self.left());
        self.timeout *= 2;
        match tokio::time::timeout(timeout, request).await {
            Ok(answer) => Attempt::Answered(answer),
            Err(_) => Attempt::Silent,
        }
    }

    /// Waits a while, some of it by chance so that many do not come back together; false when no time is left.
    pub(super) async fn pause(&mut self) -> bool {
        if self.left() <= self.pause {
            return false;
        }
        // Its last bits are as good as any dice.
        let chance = u32::try_from(ulid::Ulid::new().0 & 0xff).unwrap_or(0);
        tokio::time::sleep(self.pause / 2 + self.pause / 2 * chance / 255).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
