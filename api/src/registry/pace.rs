//! Schemas come when something starts: a handful at a time, and then none for days.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::RegistryError;

/// Requests with a schema that are under way; each holds a body in memory, and some wait for the log.
const MAX_AT_A_TIME: usize = 16;

/// Requests with a schema that begin within a window.
const MAX_IN_WINDOW: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

pub(super) struct Pace {
    places: Semaphore,
    window: Mutex<(Instant, u32)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { places: Semaphore::new(MAX_AT_A_TIME), window: Mutex::new((Instant::now(), 0)) }
    }
}

impl Pace {
    /// A place until it is dropped.
    pub(super) fn take(&self) -> Result<SemaphorePermit<'_>, RegistryError> {
        self.count(Instant::now())?;
        self.places.try_acquire().map_err(|_| RegistryError::Busy)
    }

    fn count(&self, now: Instant) -> Result<(), RegistryError> {
        let mut window = self.window.lock();
        if now.duration_since(window.0) >= WINDOW {
            *window = (now, 0);
        }
        if window.1 >= MAX_IN_WINDOW {
            return Err(RegistryError::Busy);
        }
        window.1 += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_taken_than_there_are_places() {
        let pace = Pace::default();
        let taken: Vec<_> = (0..MAX_AT_A_TIME).map(|_| pace.take().unwrap()).collect();
        assert!(matches!(pace.take(), Err(RegistryError::Busy)));
        drop(taken);
        assert!(pace.take().is_ok());
    }

    #[test]
    fn a_flood_waits_for_the_next_second() {
        let (pace, now) = (Pace::default(), Instant::now());
        for _ in 0..MAX_IN_WINDOW {
            pace.count(now).unwrap();
        }
        assert!(pace.count(now).is_err());
        assert!(pace.count(now + WINDOW).is_ok());
    }
}
