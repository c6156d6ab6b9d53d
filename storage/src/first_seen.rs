//! First-seen: who claimed a key first, within a window.

use async_trait::async_trait;

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The key was free, or is the claimant's own: a claim repeated after a crash gets the same answer.
    First,
    /// Someone else had it: this claimant.
    Taken(String),
}

#[derive(Debug, thiserror::Error)]
#[error("first-seen cannot answer now: {0}; the record is tried again")]
pub struct FirstSeenError(pub String);

#[async_trait]
pub trait FirstSeen: Send + Sync {
    /// Claims `key` for `claimant` at `at_us`. A claim made more than the window before `at_us` has lapsed. When an
    /// output that rests on the claim is committed to the log, the claim is durable too.
    async fn claim(&self, key: [u8; 32], claimant: &str, at_us: i64) -> Result<Claim, FirstSeenError>;

    /// Forgets claims that have lapsed at `now_us`. Returns how many.
    async fn expire(&self, now_us: i64) -> Result<u64, FirstSeenError>;
}
