//! Bearer tokens: sealed, so that every process with the same key reads them, bound to the credential that opened them,
//! and void after their lifetime or once they were ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millrace_directory::Account;
use millrace_storage::revocations::{RevocationError, Revocations, TokenId};

use crate::upload::key::UploadKey;

/// Names the keys that are derived for this purpose alone.
const SEAL: &str = "millrace 2026-11-25 seal of bearer tokens";
const CREDENTIAL: &str = "millrace 2026-11-25 credential of bearer tokens";

const VERSION: u8 = 1;
const MAC_BYTES: usize = 32;

/// Opens, reads and ends tokens.
pub struct Sessions {
    seal_key: [u8; 32],
    credential_key: [u8; 32],
    revocations: Arc<dyn Revocations>,
}

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    token: TokenId,
    expires_at_us: i64,
    /// Of the credential that the account had when the token was opened.
    credential: [u8; 16],
}

impl Session {
    pub fn account_id(&self) -> &str {
        &self.token.account_id
    }

    /// `version | expires_at_us | opened_at_us | id | epoch | credential | account_id`, numbers big-endian.
    fn encode(&self) -> Vec<u8> {
        let TokenId { account_id, id, epoch, opened_at_us } = &self.token;
        let times = [self.expires_at_us.to_be_bytes(), opened_at_us.to_be_bytes()].concat();
        [&[VERSION], &times[..], id, epoch, &self.credential, account_id.as_bytes()].concat()
    }

    fn decode(facts: &[u8]) -> Option<Self> {
        let (&[VERSION], facts) = facts.split_first_chunk()? else { return None };
        let (expires_at_us, facts) = facts.split_first_chunk()?;
        let (opened_at_us, facts) = facts.split_first_chunk()?;
        let (id, facts) = facts.split_first_chunk()?;
        let (epoch, facts) = facts.split_first_chunk()?;
        let (credential, account_id) = facts.split_first_chunk()?;
        let account_id = String::from_utf8(account_id.to_vec()).ok()?;
        let opened_at_us = i64::from_be_bytes(*opened_at_us);
        let token = TokenId { account_id, id: *id, epoch: *epoch, opened_at_us };
        Some(Self { token, expires_at_us: i64::from_be_bytes(*expires_at_us), credential: *credential })
    }
}

impl Sessions {
    /// Processes that share both read each other's tokens. The tokens' keys are derived from that of uploads: one secret
    /// is enough for a deployment to hand out.
    pub fn new(key: &UploadKey, revocations: Arc<dyn Revocations>) -> Self {
        Self { seal_key: key.derive(SEAL), credential_key: key.derive(CREDENTIAL), revocations }
    }

    /// Makes a token for an account.
    ///
    /// # Errors
    /// [`RevocationError`]: one could not be ended now.
    pub async fn open(
        &self,
        account: &Account,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<String, RevocationError> {
        let epoch = self.revocations.epoch(&account.id).await?;
        let opened_at_us = micros(now);
        let token = TokenId { account_id: account.id.clone(), id: rand::random(), epoch, opened_at_us };
        let expires_at_us = opened_at_us.saturating_add(i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX));
        let session = Session { token, expires_at_us, credential: self.credential(account) };
        let facts = session.encode();
        Ok(URL_SAFE_NO_PAD.encode([&self.mac(&facts).as_bytes()[..], &facts].concat()))
    }

    /// What a token stands for, until it expires: nothing, when this key did not seal it. It may have been ended.
    pub fn read(&self, token: &str, now: SystemTime) -> Option<Session> {
        let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (mac, facts) = sealed.split_first_chunk::<MAC_BYTES>()?;
        // Equality of hashes takes the same time wherever they differ.
        if self.mac(facts) != *mac {
            return None;
        }
        Session::decode(facts).filter(|session| session.expires_at_us > micros(now))
    }

    /// Whether a session has not been ended.
    ///
    /// # Errors
    /// [`RevocationError`] when that cannot be told.
    pub async fn holds(&self, session: &Session) -> Result<bool, RevocationError> {
        self.revocations.holds(&session.token).await
    }

    /// Whether `account`, as it is now, is the one that the token was made for and has the credential that it had.
    pub fn is_of(&self, session: &Session, account: &Account) -> bool {
        account.id == session.token.account_id && self.credential(account) == session.credential
    }

    /// Ends a session in all processes. `lifetime` is that of tokens opened now.
    ///
    /// # Errors
    /// [`RevocationError`]: it goes on.
    pub async fn end(&self, session: &Session, lifetime: Duration, now: SystemTime) -> Result<(), RevocationError> {
        let left_us = session.expires_at_us.saturating_sub(micros(now));
        let left = Duration::from_micros(u64::try_from(left_us).unwrap_or(0));
        self.revocations.revoke(&session.token, micros(now), left.max(lifetime)).await
    }

    fn mac(&self, facts: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.seal_key, facts)
    }

    /// The digest of a credential is not for others to see, be it that of a hash.
    fn credential(&self, account: &Account) -> [u8; 16] {
        let digest = blake3::keyed_hash(&self.credential_key, &account.credential_digest());
        *digest.as_bytes().first_chunk().expect("a hash has 32 bytes")
    }
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use millrace_directory::view::{ACCOUNT, View};
    use millrace_schemas::DirectoryEntry;
    use millrace_storage::embedded::EmbeddedRevocations;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn account(password_hash: &str) -> Arc<Account> {
        let mut view = View::default();
        view.apply(DirectoryEntry {
            kind: ACCOUNT.into(),
            name: "a1".into(),
            address: Some("a@x.org".into()),
            password_hash: Some(password_hash.into()),
            ..DirectoryEntry::default()
        });
        view.account("a1").unwrap()
    }

    fn sessions(key: u8, revocations: &Arc<EmbeddedRevocations>) -> Sessions {
        Sessions::new(&UploadKey::from([key; 32]), revocations.clone())
    }

    #[tokio::test]
    async fn a_token_holds_in_every_process_until_it_expires_or_is_ended() {
        let shared = Arc::default();
        let (one, other) = (sessions(7, &shared), sessions(7, &shared));
        let token = one.open(&account("h"), HOUR, now()).await.unwrap();
        let session = other.read(&token, now()).unwrap();
        assert!(other.holds(&session).await.unwrap() && other.is_of(&session, &account("h")));
        assert!(!other.is_of(&session, &account("other")));
        assert_eq!(other.read(&token, now() + HOUR), None);
        other.end(&session, HOUR, now()).await.unwrap();
        assert!(!one.holds(&one.read(&token, now()).unwrap()).await.unwrap());
    }

    #[tokio::test]
    async fn a_token_of_another_key_or_another_store_is_none() {
        let (shared, lost) = (Arc::default(), Arc::default());
        let token = sessions(7, &shared).open(&account("h"), HOUR, now()).await.unwrap();
        assert_eq!(sessions(8, &shared).read(&token, now()), None);
        let other = sessions(7, &lost);
        assert!(!other.holds(&other.read(&token, now()).unwrap()).await.unwrap(), "who knows what was ended");
    }

    #[tokio::test]
    async fn a_token_that_was_changed_anywhere_is_none() {
        let sessions = sessions(7, &Arc::default());
        let token = sessions.open(&account("h"), HOUR, now()).await.unwrap();
        for at in 0..token.len() {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            assert_eq!(sessions.read(&format!("{}{other}{}", &token[..at], &token[at + 1..]), now()), None);
            assert_eq!(sessions.read(&token[..at], now()), None);
        }
    }
}
