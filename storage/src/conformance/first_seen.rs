//! [`FirstSeen`]. The place's window must be [`WINDOW`].

use std::time::Duration;

use super::{Place, unique};
use crate::first_seen::{Claim, FirstSeen};

/// The window that the cases assume.
pub const WINDOW: Duration = Duration::from_secs(3600);

const WINDOW_US: i64 = 3_600_000_000;
const NOW_US: i64 = 1_800_000_000_000_000;

pub async fn all(place: &dyn Place<dyn FirstSeen>) {
    the_first_claim_wins(place).await;
    a_claim_repeated_is_the_same_claim(place).await;
    a_claim_lapses_behind_the_window(place).await;
    of_many_at_once_one_is_first(place).await;
    lapsed_claims_are_forgotten_and_others_are_not(place).await;
}

/// A key of 32 bytes that no other run uses.
fn key() -> [u8; 32] {
    let name = unique("k");
    std::array::from_fn(|at| name.as_bytes().get(at).copied().unwrap_or(0))
}

async fn claim(seen: &dyn FirstSeen, key: [u8; 32], claimant: &str, at_us: i64) -> Claim {
    seen.claim(key, claimant, at_us).await.expect("a claim")
}

pub async fn the_first_claim_wins(place: &dyn Place<dyn FirstSeen>) {
    let seen = place.open().await;
    let (one, other) = (key(), key());
    assert_eq!(claim(&*seen, one, "m1", NOW_US).await, Claim::First);
    assert_eq!(claim(&*seen, one, "m2", NOW_US + 1).await, Claim::Taken("m1".to_owned()));
    assert_eq!(claim(&*seen, other, "m2", NOW_US).await, Claim::First);
}

pub async fn a_claim_repeated_is_the_same_claim(place: &dyn Place<dyn FirstSeen>) {
    let seen = place.open().await;
    let key = key();
    for _ in 0..3 {
        assert_eq!(claim(&*seen, key, "m1", NOW_US).await, Claim::First);
        assert_eq!(claim(&*seen, key, "m2", NOW_US).await, Claim::Taken("m1".to_owned()));
    }
}

pub async fn a_claim_lapses_behind_the_window(place: &dyn Place<dyn FirstSeen>) {
    let seen = place.open().await;
    let key = key();
    assert_eq!(claim(&*seen, key, "m1", NOW_US).await, Claim::First);
    assert_eq!(claim(&*seen, key, "m2", NOW_US + WINDOW_US).await, Claim::Taken("m1".to_owned()));
    assert_eq!(claim(&*seen, key, "m2", NOW_US + WINDOW_US + 1).await, Claim::First);
    assert_eq!(claim(&*seen, key, "m3", NOW_US + WINDOW_US + 2).await, Claim::Taken("m2".to_owned()));
}

pub async fn of_many_at_once_one_is_first(place: &dyn Place<dyn FirstSeen>) {
    let seen = place.open().await;
    let key = key();
    let claimants = (0..50).map(|n| {
        let seen = seen.clone();
        tokio::spawn(async move { claim(&*seen, key, &format!("m{n}"), NOW_US).await })
    });
    let mut first = 0;
    for claimant in claimants.collect::<Vec<_>>() {
        first += u32::from(claimant.await.expect("a claimant") == Claim::First);
    }
    assert_eq!(first, 1);
}

pub async fn lapsed_claims_are_forgotten_and_others_are_not(place: &dyn Place<dyn FirstSeen>) {
    let (old, young) = (key(), key());
    {
        let seen = place.open().await;
        claim(&*seen, old, "m1", NOW_US - WINDOW_US - 1).await;
        claim(&*seen, young, "m1", NOW_US).await;
    }
    let seen = place.open().await;
    // An adapter whose keys expire by themselves has nothing left to count.
    seen.expire(NOW_US).await.expect("an expiry");
    assert_eq!(claim(&*seen, old, "m2", NOW_US - WINDOW_US - 1).await, Claim::First);
    assert_eq!(claim(&*seen, young, "m2", NOW_US).await, Claim::Taken("m1".to_owned()));
}
