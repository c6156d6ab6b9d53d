//! Passwords: argon2 hashes (RFC 9106), checked without stalling anyone.
//!
//! A check costs tens of milliseconds and 19 MiB by design, so at most a few run at once, and a success is
//! remembered for a while under a keyed hash that is worth nothing outside this process.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

const MAX_REMEMBERED: usize = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
const MAX_CONCURRENT: usize = 4;
/// Longer ones are refused before they are hashed.
pub const MAX_PASSWORD_BYTES: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("the password is empty; give one on standard input")]
    Empty,
    #[error("the password is longer than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// Hashes a password with argon2id and a fresh salt, as a PHC string.
///
/// # Errors
/// [`PasswordError`] for a password that cannot be taken.
pub fn hash(password: &str) -> Result<String, PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(PasswordError::TooLong);
    }
    let failed = |error: argon2::password_hash::Error| PasswordError::Hash(error.to_string());
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(failed)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Checks passwords and remembers successes.
pub struct Passwords {
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    running: Semaphore,
    /// Checked when there is no such account, so that its absence cannot be told from the time.
    decoy: String,
}

impl Passwords {
    /// # Errors
    /// [`PasswordError::Hash`] when argon2 cannot run here, for want of memory.
    pub fn new() -> Result<Self, PasswordError> {
        Ok(Self {
            key: rand::random(),
            remembered: Mutex::default(),
            running: Semaphore::new(MAX_CONCURRENT),
            decoy: hash("decoy")?,
        })
    }

    /// Whether `password` is the one behind `stored`; false after the same work when there is none.
    pub async fn verify(&self, stored: Option<&str>, password: &str) -> bool {
        if password.len() > MAX_PASSWORD_BYTES {
            return false;
        }
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.decoy).to_owned();
        let token = self.token(&stored, password);
        if known && self.is_remembered(&token) {
            return true;
        }
        let Ok(_permit) = self.running.acquire().await else { return false };
        let password = password.to_owned();
        let matches = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&stored)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        });
        let matches = matches.await.unwrap_or(false) && known;
        if matches {
            self.remember(token);
        }
        matches
    }

    fn token(&self, stored: &str, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(stored.len() as u64).to_le_bytes()).update(stored.as_bytes()).update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn is_remembered(&self, token: &[u8; 32]) -> bool {
        self.remembered.lock().get(token).is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
    }

    fn remember(&self, token: [u8; 32]) {
        let mut remembered = self.remembered.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, since| since.elapsed() < REMEMBERED_FOR);
        }
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(token, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_right_password_passes_and_no_other() {
        let passwords = Passwords::new().unwrap();
        let stored = hash("correct horse").unwrap();
        for _ in 0..2 {
            assert!(passwords.verify(Some(&stored), "correct horse").await);
            assert!(!passwords.verify(Some(&stored), "wrong horse").await);
        }
        assert!(!passwords.verify(None, "decoy").await);
        assert!(!passwords.verify(Some("not a hash"), "x").await);
    }

    #[test]
    fn empty_and_endless_passwords_are_refused() {
        assert!(matches!(hash(""), Err(PasswordError::Empty)));
        assert!(matches!(hash(&"x".repeat(5000)), Err(PasswordError::TooLong)));
    }
}
