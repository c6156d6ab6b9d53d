use std::collections::HashMap;

use parking_lot::Mutex;

/// How far watchers were told, by partition.
#[derive(Default)]
pub(super) struct Gaps(Mutex<HashMap<u32, Told>>);

#[derive(Default)]
struct Told {
    /// What the last message went up to; `None` before the first.
    to: Option<u64>,
    /// What was applied at the last look; it must have been told by the next.
    applied_to: Option<u64>,
}

impl Gaps {
    pub(super) fn note(&self, partition: u32) {
        self.0.lock().entry(partition).or_default();
    }

    pub(super) fn partitions(&self) -> Vec<u32> {
        self.0.lock().keys().copied().collect()
    }

    /// Whether a message about `from` to before `to` follows on the last. One that goes back does not either: a lander
    /// has begun anew, and what there is now may have been told by none.
    pub(super) fn follows(&self, partition: u32, from: u64, to: u64) -> bool {
        let mut told = self.0.lock();
        let told = told.entry(partition).or_default();
        told.to.replace(to).is_none_or(|before| before == from)
    }

    /// Whether something that was applied by the last look has not been told until now.
    pub(super) fn is_behind(&self, partition: u32, applied_to: u64) -> bool {
        let mut told = self.0.lock();
        let told = told.entry(partition).or_default();
        let is_behind = match (told.applied_to, told.to) {
            (Some(applied_to), Some(to)) => to < applied_to,
            // Nothing was heard, and yet something has happened.
            (Some(before), None) => before != applied_to,
            (None, _) => false,
        };
        if is_behind {
            // Once told, it counts as heard.
            told.to = match told.to {
                Some(to) => Some(to).max(told.applied_to),
                None => Some(applied_to),
            };
        }
        // A partition that begins anew is lower for a while.
        told.applied_to = Some(applied_to);
        is_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_does_not_follow_on_is_a_gap() {
        let gaps = Gaps::default();
        assert!(gaps.follows(1, 10, 12));
        assert!(gaps.follows(1, 12, 15));
        assert!(gaps.follows(2, 0, 5));
        assert!(!gaps.follows(1, 16, 17), "15 is missing");
        assert!(gaps.follows(1, 17, 18));
        assert!(!gaps.follows(1, 3, 9), "begun anew");
        assert!(gaps.follows(1, 9, 11));
    }

    #[test]
    fn what_is_applied_and_was_not_told_by_the_next_look_is_a_gap() {
        let gaps = Gaps::default();
        gaps.follows(1, 0, 5);
        assert!(!gaps.is_behind(1, 8), "its message may be on its way");
        gaps.follows(1, 5, 8);
        assert!(!gaps.is_behind(1, 9));
        assert!(gaps.is_behind(1, 9), "it did not come");
        assert!(!gaps.is_behind(1, 9), "told once");
    }

    #[test]
    fn a_partition_of_which_nothing_is_heard_is_noticed_when_it_moves() {
        let gaps = Gaps::default();
        gaps.note(3);
        assert!(!gaps.is_behind(3, 8));
        assert!(!gaps.is_behind(3, 8));
        assert!(gaps.is_behind(3, 9));
        assert!(!gaps.is_behind(3, 9));
    }
}
