//! A cache bounded by bytes.

use std::hash::Hash;

use lru::LruCache;

/// A least-recently-used cache bounded by the bytes of its values.
pub(super) struct Bounded<K: Hash + Eq, V> {
    entries: LruCache<K, (V, usize)>,
    used_bytes: usize,
    limit_bytes: usize,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    /// What an entry costs beyond its value.
    const ENTRY_BYTES: usize = 200;

    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { entries: LruCache::unbounded(), used_bytes: 0, limit_bytes }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(value, _)| value.clone())
    }

    pub(super) fn put(&mut self, key: K, value: V, size_bytes: usize) {
        let size_bytes = size_bytes + Self::ENTRY_BYTES;
        if size_bytes > self.limit_bytes {
            return;
        }
        if let Some((_, replaced)) = self.entries.put(key, (value, size_bytes)) {
            self.used_bytes -= replaced;
        }
        self.used_bytes += size_bytes;
        while self.used_bytes > self.limit_bytes {
            let Some((_, (_, freed))) = self.entries.pop_lru() else { return };
            self.used_bytes -= freed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_memory_is_bounded() {
        let mut cache = Bounded::new(3 * 300);
        for key in 0..3 {
            cache.put(key, key, 100);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.put(3, 3, 100);
        assert_eq!((cache.get(&0), cache.get(&1), cache.get(&3)), (Some(0), None, Some(3)));
        cache.put(4, 4, 10_000);
        assert_eq!((cache.get(&4), cache.used_bytes), (None, 900));
        cache.put(3, 3, 50);
        assert_eq!(cache.used_bytes, 850);
    }
}
