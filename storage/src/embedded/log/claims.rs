//! Claims of first-seen that have been answered and wait for the committer's next batch, so that they are durable with
//! or before every output that rests on them.

use std::collections::HashMap;

use fjall::OwnedWriteBatch;
use parking_lot::{Mutex, MutexGuard};

use super::store::Store;

pub(crate) type ClaimKey = [u8; 32];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredClaim {
    pub(crate) claimant: String,
    pub(crate) at_us: i64,
}

impl StoredClaim {
    /// `at_us i64 big-endian | claimant`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&self.at_us.to_be_bytes(), self.claimant.as_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let malformed = || "a stored claim is malformed".to_owned();
        let (at, claimant) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
        let claimant = std::str::from_utf8(claimant).map_err(|_| malformed())?.to_owned();
        Ok(Self { claimant, at_us: i64::from_be_bytes(*at) })
    }
}

/// `at_us | key`, so that claims sort by time (times before 1970 do not occur).
pub(crate) fn time_key(at_us: i64, key: &ClaimKey) -> Vec<u8> {
    [at_us.max(0).to_be_bytes().as_slice(), key].concat()
}

/// Answered and not known to be on disk.
#[derive(Default)]
pub(crate) struct Unsaved {
    claims: HashMap<ClaimKey, Unwritten>,
    /// Not yet part of a batch.
    waiting: Vec<ClaimKey>,
    last_version: u64,
}

struct Unwritten {
    claim: StoredClaim,
    /// The time of the lapsed claim that this one takes the place of.
    replaces_us: Option<i64>,
    version: u64,
}

impl Unsaved {
    pub(crate) fn get(&self, key: &ClaimKey) -> Option<&StoredClaim> {
        self.claims.get(key).map(|unwritten| &unwritten.claim)
    }

    pub(crate) fn len(&self) -> usize {
        self.claims.len()
    }

    pub(crate) fn insert(&mut self, key: ClaimKey, claim: StoredClaim, replaces_us: Option<i64>) {
        self.last_version += 1;
        let version = self.last_version;
        self.claims.insert(key, Unwritten { claim, replaces_us, version });
        self.waiting.push(key);
    }
}

#[derive(Default)]
pub(crate) struct PendingClaims {
    unsaved: Mutex<Unsaved>,
}

/// Claims that are in a batch, with the version that is.
pub(crate) struct Boarded(Vec<(ClaimKey, u64)>);

impl PendingClaims {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Unsaved> {
        self.unsaved.lock()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unsaved.lock().waiting.is_empty()
    }

    /// Puts all that wait into a batch. They stay visible to lookups until [`Self::saved`].
    pub(crate) fn board(&self, store: &Store, batch: &mut OwnedWriteBatch) -> Boarded {
        let mut unsaved = self.unsaved.lock();
        let waiting = std::mem::take(&mut unsaved.waiting);
        let mut boarded = Vec::with_capacity(waiting.len());
        for key in waiting {
            let Some(unwritten) = unsaved.claims.get(&key) else { continue };
            if let Some(lapsed_us) = unwritten.replaces_us {
                batch.remove(&store.claim_times, time_key(lapsed_us, &key));
            }
            batch.insert(&store.claims, key, unwritten.claim.encode());
            batch.insert(&store.claim_times, time_key(unwritten.claim.at_us, &key), []);
            boarded.push((key, unwritten.version));
        }
        Boarded(boarded)
    }

    pub(crate) fn saved(&self, boarded: Boarded) {
        let mut unsaved = self.unsaved.lock();
        for (key, version) in boarded.0 {
            if unsaved.claims.get(&key).is_some_and(|unwritten| unwritten.version == version) {
                unsaved.claims.remove(&key);
            }
        }
    }

    pub(crate) fn put_back(&self, boarded: Boarded) {
        self.unsaved.lock().waiting.extend(boarded.0.into_iter().map(|(key, _)| key));
    }
}
