//! Counts what an account has open at one time, and refuses more.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::Gauge;
use parking_lot::Mutex;

#[derive(Clone)]
pub struct Slots {
    /// What is counted, as metrics name it.
    of: &'static str,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// Gives its place back when dropped.
pub struct Slot {
    slots: Slots,
    account_id: String,
}

impl Slots {
    pub fn of(of: &'static str) -> Self {
        Self { of, taken: Arc::default() }
    }

    fn gauge(&self) -> Gauge {
        metrics::gauge!("millrace_api_slots_taken", "of" => self.of)
    }

    /// Takes one of `most` places of an account; `None` when all are taken.
    pub fn take(&self, account_id: &str, most: usize) -> Option<Slot> {
        let mut taken = self.taken.lock();
        let count = taken.entry(account_id.to_owned()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        self.gauge().increment(1.0);
        Some(Slot { slots: self.clone(), account_id: account_id.to_owned() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.gauge().decrement(1.0);
        let mut taken = self.slots.taken.lock();
        if let Some(count) = taken.get_mut(&self.account_id) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.account_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_holder_goes() {
        let slots = Slots::of("tests");
        let first = slots.take("a", 1);
        assert!(first.is_some() && slots.take("a", 1).is_none() && slots.take("b", 1).is_some());
        drop(first);
        assert!(slots.take("a", 1).is_some());
        assert!(slots.taken.lock().is_empty());
    }
}
