//! Bearer tokens: random, kept only as hashes, bound to the credential that opened them, and gone after their lifetime.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millrace_directory::Account;
use parking_lot::Mutex;

/// Of one account; the oldest goes first.
const MAX_TOKENS_PER_ACCOUNT: usize = 64;
/// Of all accounts.
const MAX_TOKENS: usize = 100_000;

/// The tokens of this process.
///
/// A token is looked up by its BLAKE3 hash: what the time of a lookup tells is about the hash of a guess, which
/// does not lead to a token.
#[derive(Default)]
pub struct Sessions {
    held: Mutex<HashMap<[u8; 32], Session>>,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub struct Session {
    pub account_id: String,
    /// Of the credential that the account had when the token was made.
    credential_digest: [u8; 32],
    expires_at: Instant,
}

impl Session {
    /// Whether `account`, as it is now, is the one that the token was made for and has the credential that it had.
    pub fn is_of(&self, account: &Account) -> bool {
        account.id == self.account_id && account.credential_digest() == self.credential_digest
    }
}

impl Sessions {
    /// Makes a token for an account: 256 random bits as text.
    pub fn open(&self, account: &Account, lifetime: Duration, now: Instant) -> String {
        let session = Session {
            account_id: account.id.clone(),
            credential_digest: account.credential_digest(),
            expires_at: now + lifetime,
        };
        self.hold(session, now)
    }

    fn hold(&self, session: Session, now: Instant) -> String {
        let secret: [u8; 32] = rand::random();
        let token = URL_SAFE_NO_PAD.encode(secret);
        let mut held = self.held.lock();
        held.retain(|_, session| session.expires_at > now);
        make_room(&mut held, &session.account_id);
        held.insert(digest(&token), session);
        token
    }

    /// What a token stands for, until it expires.
    pub fn find(&self, token: &str, now: Instant) -> Option<Session> {
        self.held.lock().get(&digest(token)).filter(|session| session.expires_at > now).cloned()
    }

    /// Ends a token. False when there was none.
    pub fn close(&self, token: &str) -> bool {
        self.held.lock().remove(&digest(token)).is_some()
    }
}

fn make_room(held: &mut HashMap<[u8; 32], Session>, account_id: &str) {
    let of_account = || held.iter().filter(|(_, session)| session.account_id == account_id);
    let oldest = if of_account().count() >= MAX_TOKENS_PER_ACCOUNT {
        of_account().min_by_key(|(_, session)| session.expires_at).map(|(key, _)| *key)
    } else if held.len() >= MAX_TOKENS {
        held.iter().min_by_key(|(_, session)| session.expires_at).map(|(key, _)| *key)
    } else {
        None
    };
    if let Some(oldest) = oldest {
        held.remove(&oldest);
    }
}

fn digest(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn session(account_id: &str, expires_at: Instant) -> Session {
        Session { account_id: account_id.to_owned(), credential_digest: [0; 32], expires_at }
    }

    fn account_id(sessions: &Sessions, token: &str, now: Instant) -> Option<String> {
        sessions.find(token, now).map(|session| session.account_id)
    }

    #[test]
    fn a_token_holds_until_it_expires_or_is_closed() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let token = sessions.hold(session("a1", now + HOUR), now);
        assert_eq!(account_id(&sessions, &token, now).as_deref(), Some("a1"));
        assert_eq!(account_id(&sessions, &token, now + HOUR), None);
        assert_eq!(account_id(&sessions, "guess", now), None);
        assert!(sessions.close(&token));
        assert_eq!(account_id(&sessions, &token, now), None);
    }

    #[test]
    fn an_account_keeps_its_newest_tokens() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let other = sessions.hold(session("a2", now + HOUR), now);
        let tokens: Vec<_> = (0..=MAX_TOKENS_PER_ACCOUNT)
            .map(|age| sessions.hold(session("a1", now + HOUR + Duration::from_secs(age as u64)), now))
            .collect();
        assert_eq!(account_id(&sessions, &tokens[0], now), None);
        assert!(account_id(&sessions, &tokens[1], now).is_some());
        assert!(account_id(&sessions, &other, now).is_some());
    }
}
