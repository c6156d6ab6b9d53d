//! Failed logins are counted per address and source, and per source, in bounded memory.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

const WINDOW: Duration = Duration::from_secs(15 * 60);
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(50_000).expect("50,000 is not zero");
/// A source may guess at this many times as many addresses as at one.
const SOURCE_FACTOR: u32 = 10;

pub struct Throttle {
    max_failures: u32,
    failures: Mutex<LruCache<Key, Failures>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Source(IpAddr),
    Address(IpAddr, String),
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    window_ends: Instant,
}

impl Throttle {
    pub fn new(max_failures: u32) -> Self {
        Self { max_failures, failures: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// How many seconds a login has to wait, if it does.
    pub fn wait_seconds(&self, address: &str, source: IpAddr, now: Instant) -> Option<u64> {
        let mut failures = self.failures.lock();
        self.keys(address, source).iter().find_map(|(key, most)| {
            let found = failures.get(key)?;
            let is_full = found.count >= *most && found.window_ends > now;
            is_full.then(|| found.window_ends.duration_since(now).as_secs() + 1)
        })
    }

    pub fn failed(&self, address: &str, source: IpAddr, now: Instant) {
        let mut failures = self.failures.lock();
        for (key, _) in self.keys(address, source) {
            let fresh = Failures { count: 0, window_ends: now + WINDOW };
            let found = failures.get_or_insert_mut(key, || fresh);
            if found.window_ends <= now {
                *found = fresh;
            }
            found.count += 1;
        }
    }

    /// A good login clears what its address had, not what its source had.
    pub fn succeeded(&self, address: &str, source: IpAddr) {
        self.failures.lock().pop(&Key::Address(source, shortened(address)));
    }

    fn keys(&self, address: &str, source: IpAddr) -> [(Key, u32); 2] {
        let of_source = self.max_failures.saturating_mul(SOURCE_FACTOR);
        [(Key::Address(source, shortened(address)), self.max_failures), (Key::Source(source), of_source)]
    }
}

/// No address of ours is longer than 320 bytes; a longer one is remembered by its start.
fn shortened(address: &str) -> String {
    address.chars().take(320).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_after_too_many_failures_and_others_do_not() {
        let (throttle, now) = (Throttle::new(3), Instant::now());
        let [one, two]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        for _ in 0..3 {
            assert_eq!(throttle.wait_seconds("a@x.org", one, now), None);
            throttle.failed("A@x.org", one, now);
        }
        assert!(throttle.wait_seconds("a@x.org", one, now).is_some_and(|seconds| seconds > 800));
        assert_eq!(throttle.wait_seconds("b@x.org", one, now), None);
        assert_eq!(throttle.wait_seconds("a@x.org", two, now), None);
        assert_eq!(throttle.wait_seconds("a@x.org", one, now + WINDOW), None);
    }

    #[test]
    fn a_source_that_guesses_at_many_addresses_waits() {
        let (throttle, now) = (Throttle::new(3), Instant::now());
        let source: IpAddr = "2001:db8::1".parse().unwrap();
        for guess in 0..30 {
            throttle.failed(&format!("{guess}@x.org"), source, now);
            throttle.succeeded(&format!("{guess}@x.org"), source);
        }
        assert!(throttle.wait_seconds("new@x.org", source, now).is_some());
    }
}
