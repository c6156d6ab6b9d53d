//! Memory for bodies: a number of bytes that all sessions share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units, so that the budget fits the semaphore's 32-bit steps.
const UNIT_BYTES: usize = 1024;

/// The shared budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
}

/// Bytes held. They go back when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { units: Arc::new(Semaphore::new((bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS))) }
    }

    /// Whether nothing is left.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.units.available_permits() == 0
    }

    /// Widens `hold` to `bytes`, waiting at most `wait` for others to let go. False when they did not.
    pub(crate) async fn grow(&self, hold: &mut Hold, bytes: usize, wait: Duration) -> bool {
        let missing = bytes.div_ceil(UNIT_BYTES).saturating_sub(hold.bytes / UNIT_BYTES);
        if missing == 0 {
            return true;
        }
        let Ok(units) = u32::try_from(missing) else { return false };
        let permit = match self.units.clone().try_acquire_many_owned(units) {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout(wait, self.units.clone().acquire_many_owned(units)).await {
                Ok(Ok(permit)) => permit,
                _ => return false,
            },
        };
        hold.bytes += missing * UNIT_BYTES;
        match &mut hold.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        true
    }
}

impl Hold {
    pub(crate) fn none() -> Self {
        Self { permit: None, bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_holds_another_waits_for_and_gets_back() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let (mut one, mut two) = (Hold::none(), Hold::none());
        let wait = Duration::from_millis(10);
        assert!(budget.grow(&mut one, 3000, wait).await);
        assert!(budget.grow(&mut one, 9 * UNIT_BYTES, wait).await);
        assert!(!budget.grow(&mut two, 2 * UNIT_BYTES, wait).await);
        assert!(budget.grow(&mut two, UNIT_BYTES, wait).await && budget.is_exhausted());
        drop(one);
        assert!(budget.grow(&mut two, 10 * UNIT_BYTES, wait).await);
    }
}
