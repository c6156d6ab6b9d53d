//! Bearer tokens: random, kept only as hashes, and gone after their lifetime.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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

struct Session {
    account_id: String,
    expires_at: Instant,
}

impl Sessions {
    /// Makes a token for an account: 256 random bits as text.
    pub fn open(&self, account_id: &str, lifetime: Duration, now: Instant) -> String {
        let secret: [u8; 32] = rand::random();
        let token = URL_SAFE_NO_PAD.encode(secret);
        let mut held = self.held.lock();
        held.retain(|_, session| session.expires_at > now);
        make_room(&mut held, account_id);
        let session = Session { account_id: account_id.to_owned(), expires_at: now + lifetime };
        held.insert(digest(&token), session);
        token
    }

    /// The account a token belongs to.
    pub fn account_id(&self, token: &str, now: Instant) -> Option<String> {
        let held = self.held.lock();
        let session = held.get(&digest(token))?;
        (session.expires_at > now).then(|| session.account_id.clone())
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

    #[test]
    fn a_token_holds_until_it_expires_or_is_closed() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let token = sessions.open("a1", HOUR, now);
        assert_eq!(sessions.account_id(&token, now).as_deref(), Some("a1"));
        assert_eq!(sessions.account_id(&token, now + HOUR), None);
        assert_eq!(sessions.account_id("guess", now), None);
        assert!(sessions.close(&token));
        assert_eq!(sessions.account_id(&token, now), None);
    }

    #[test]
    fn an_account_keeps_its_newest_tokens() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let other = sessions.open("a2", HOUR, now);
        let tokens: Vec<_> = (0..=MAX_TOKENS_PER_ACCOUNT)
            .map(|age| sessions.open("a1", HOUR, now + Duration::from_secs(age as u64)))
            .collect();
        assert_eq!(sessions.account_id(&tokens[0], now), None);
        assert!(sessions.account_id(&tokens[1], now).is_some());
        assert!(sessions.account_id(&other, now).is_some());
    }
}
