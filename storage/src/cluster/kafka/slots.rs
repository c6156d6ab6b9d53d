//! Numbers of the members of a group in this process, so that their transactional ids are the same after a restart.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Clone, Default)]
pub(super) struct Slots(Arc<Mutex<HashMap<String, BTreeSet<usize>>>>);

/// A number that is taken until this is dropped.
pub(super) struct Slot {
    slots: Slots,
    group: String,
    number: usize,
}

impl Slots {
    /// The lowest free number of the group.
    pub(super) fn take(&self, group: &str) -> Slot {
        let mut taken = self.0.lock();
        let taken = taken.entry(group.to_owned()).or_default();
        let number = (0..).find(|number| !taken.contains(number)).unwrap_or(usize::MAX);
        taken.insert(number);
        Slot { slots: self.clone(), group: group.to_owned(), number }
    }
}

impl Slot {
    pub(super) fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(taken) = self.slots.0.lock().get_mut(&self.group) {
            taken.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_free_again_when_its_member_has_gone() {
        let slots = Slots::default();
        let (first, second) = (slots.take("a"), slots.take("a"));
        assert_eq!((first.number(), second.number(), slots.take("b").number()), (0, 1, 0));
        drop(first);
        assert_eq!(slots.take("a").number(), 0);
    }
}
