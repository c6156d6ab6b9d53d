//! Bearer tokens that ended before their time: somebody logged out.
//!
//! A token says by itself, under a seal, whose it is and how long it holds; what is kept here is only which ones do not
//! hold any more. A store that has lost what it kept must not bring them back, so each token also names the epoch that
//! it was opened in: with what was kept, the epoch is lost, and all tokens of it end. People log in again; nobody who
//! has logged out is in.

use std::time::Duration;

use async_trait::async_trait;

/// Revocations of one account that are kept one by one. Whoever ends more within the life of a token ends all tokens of
/// the account that are open then.
pub const MAX_OF_ACCOUNT: usize = 1_024;

/// A name for the time in which nothing that was kept has been lost.
pub type Epoch = [u8; 16];

/// What identifies a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenId {
    pub account_id: String,
    pub id: [u8; 16],
    pub epoch: Epoch,
    pub opened_at_us: i64,
}

/// Try again later: whether a token holds cannot be told now, or it was not ended.
#[derive(Debug, thiserror::Error)]
#[error("ended sessions cannot be looked up now: {0}")]
pub struct RevocationError(pub String);

#[async_trait]
pub trait Revocations: Send + Sync {
    /// The epoch in which a token of the account is opened now.
    async fn epoch(&self, account_id: &str) -> Result<Epoch, RevocationError>;

    /// Whether a token has not been revoked.
    async fn holds(&self, token: &TokenId) -> Result<bool, RevocationError>;

    /// Ends a token from now on, in all processes that share the store. `keep` is how long any token may hold that is open
    /// at `now_us`.
    async fn revoke(&self, token: &TokenId, now_us: i64, keep: Duration) -> Result<(), RevocationError>;
}
