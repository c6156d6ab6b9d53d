use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use crate::blob::BodyRef;

/// Bodies larger than this part of the cache are not worth what they would push out.
const LARGEST_PART: usize = 8;

/// Bodies read last, up to a number of bytes.
pub(super) struct Cache {
    held: Mutex<(LruCache<BodyRef, Bytes>, usize)>,
    max_bytes: usize,
}

impl Cache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { held: Mutex::new((LruCache::unbounded(), 0)), max_bytes }
    }

    pub(super) fn get(&self, reference: &BodyRef) -> Option<Bytes> {
        self.held.lock().0.get(reference).cloned()
    }

    pub(super) fn put(&self, reference: &BodyRef, body: &Bytes) {
        if cost(body) > self.max_bytes / LARGEST_PART {
            return;
        }
        let mut held = self.held.lock();
        let (bodies, bytes) = &mut *held;
        *bytes += cost(body);
        if let Some(before) = bodies.put(reference.clone(), body.clone()) {
            *bytes -= cost(&before);
        }
        while *bytes > self.max_bytes {
            let Some((_, oldest)) = bodies.pop_lru() else { break };
            *bytes -= cost(&oldest);
        }
    }
}

fn cost(body: &Bytes) -> usize {
    const OVERHEAD_BYTES: usize = 200;
    body.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(offset: u64) -> BodyRef {
        BodyRef { pack: "p".to_owned(), offset, length: 100 }
    }

    #[test]
    fn what_was_not_read_for_longest_goes_first() {
        let cache = Cache::new(10 * 300);
        for n in 0..10 {
            cache.put(&reference(n), &Bytes::from(vec![0; 100]));
            assert!(cache.get(&reference(0)).is_some());
        }
        for n in 10..15 {
            cache.put(&reference(n), &Bytes::from(vec![0; 100]));
        }
        let held: Vec<u64> = (0..15).filter(|n| cache.get(&reference(*n)).is_some()).collect();
        assert_eq!(held, [0, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        cache.put(&reference(20), &Bytes::from(vec![0; 1000]));
        assert!(cache.get(&reference(20)).is_none(), "too large a part of it");
    }
}
