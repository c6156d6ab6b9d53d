//! How many connections there are, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts connections and says when there are too many.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    max: usize,
    max_per_address: usize,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection; it is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    address: IpAddr,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooMany,
    TooManyFromAddress,
}

impl Connections {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Self {
        Self { max, max_per_address, counts: Arc::default() }
    }

    pub(crate) fn admit(&self, address: IpAddr) -> Result<Admission, Refusal> {
        let address = network_of(address);
        let mut counts = self.counts.lock();
        if counts.all >= self.max {
            return Err(Refusal::TooMany);
        }
        if counts.by_address.get(&address).is_some_and(|count| *count >= self.max_per_address) {
            return Err(Refusal::TooManyFromAddress);
        }
        counts.all += 1;
        *counts.by_address.entry(address).or_default() += 1;
        Ok(Admission { address, counts: self.counts.clone() })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.all -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// An IPv6 client usually has 64 bits of addresses of its own.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_by_address_and_in_all_and_counted_down() {
        let connections = Connections::new(3, 2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = connections.admit(address("192.0.2.1")).unwrap();
        let second = connections.admit(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(connections.admit(address("192.0.2.1")).unwrap_err(), Refusal::TooManyFromAddress);
        let other = connections.admit(address("192.0.2.2")).unwrap();
        assert_eq!(connections.admit(address("192.0.2.3")).unwrap_err(), Refusal::TooMany);
        drop((first, second, other));
        assert!(connections.counts.lock().by_address.is_empty());
        assert_eq!(connections.counts.lock().all, 0);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_client() {
        let connections = Connections::new(9, 1);
        let _held = connections.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(connections.admit("2001:db8::2".parse().unwrap()).is_err());
        assert!(connections.admit("2001:db8:0:1::2".parse().unwrap()).is_ok());
    }
}
