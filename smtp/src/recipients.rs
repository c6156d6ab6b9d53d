//! Where the mail of an address goes: answered by the directory, asked at RCPT.

use async_trait::async_trait;

use crate::Address;

/// Finds the accounts behind an address.
#[async_trait]
pub trait Recipients: Send + Sync {
    /// Resolves an address of RCPT: aliases expanded, plus-tags and case as the directory has it.
    /// `<Postmaster>` without a domain comes as `postmaster@` our server name. `size_bytes` is the size that was declared
    /// with MAIL (RFC 1870), for those who keep quotas.
    ///
    /// # Errors
    /// [`Unavailable`] when the directory cannot answer now; the client is told to try again.
    async fn resolve(&self, address: &Address, size_bytes: Option<u64>) -> Result<Resolution, Unavailable>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Ids of the accounts that get the mail; at least one.
    Accounts(Vec<String>),
    /// The domain is ours and has no such user.
    UnknownUser,
    /// The domain is not ours.
    NotLocal,
    /// The user has no room for the message.
    OverQuota,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the directory cannot answer now: {0}")]
pub struct Unavailable(pub String);
