//! What an upload is, sealed into its blob id: every process with the same key can read it back, nobody else can make
//! one, and it holds for one account only.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millrace_storage::BodyRef;

const MAC_BYTES: usize = 32;
const SIZE_BYTES: usize = 8;

/// The secret behind the blob ids of uploads. All processes that serve the same accounts need the same one.
#[derive(Clone)]
pub struct UploadKey([u8; 32]);

/// An upload: where its bytes are, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) body: BodyRef,
    pub(crate) size_bytes: u64,
}

impl UploadKey {
    /// A key of this process alone: ids made under it mean nothing to another process, nor to this one after a restart.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// An authentication code, the size and the reference, in URL-safe base 64. At most 166 characters, of the 255 that
    /// an id may have (RFC 8620 section 1.2).
    pub(crate) fn seal(&self, account_id: &str, upload: &Upload) -> String {
        let facts = [&upload.size_bytes.to_be_bytes()[..], upload.body.to_string().as_bytes()].concat();
        let mac = self.mac(account_id, &facts);
        URL_SAFE_NO_PAD.encode([&mac.as_bytes()[..], &facts].concat())
    }

    /// `None` for what this key did not seal for this account.
    pub(crate) fn open(&self, account_id: &str, sealed: &str) -> Option<Upload> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (mac, facts) = sealed.split_first_chunk::<MAC_BYTES>()?;
        // Equality of hashes takes the same time wherever they differ.
        if self.mac(account_id, facts) != *mac {
            return None;
        }
        let (size, reference) = facts.split_first_chunk::<SIZE_BYTES>()?;
        let body = std::str::from_utf8(reference).ok()?.parse().ok()?;
        Some(Upload { body, size_bytes: u64::from_be_bytes(*size) })
    }

    /// A key for another purpose, which `label` names: from the one nothing follows about the other.
    pub(crate) fn derive(&self, label: &str) -> [u8; 32] {
        blake3::derive_key(label, &self.0)
    }

    fn mac(&self, account_id: &str, facts: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(account_id.len() as u64).to_be_bytes()).update(account_id.as_bytes()).update(facts);
        hasher.finalize()
    }
}

impl From<[u8; 32]> for UploadKey {
    fn from(secret: [u8; 32]) -> Self {
        Self(secret)
    }
}

/// Does not print the secret.
impl fmt::Debug for UploadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UploadKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(length: u64) -> Upload {
        let pack = "2026-11-23/01JDCM00000000000000000000.pack".to_owned();
        Upload { body: BodyRef { pack, offset: length, length }, size_bytes: length }
    }

    #[test]
    fn an_id_opens_for_its_account_under_its_key_and_not_otherwise() {
        let key = UploadKey::from([7; 32]);
        let sealed = key.seal("a1", &upload(u64::MAX));
        assert_eq!(key.open("a1", &sealed), Some(upload(u64::MAX)));
        assert!(sealed.len() <= 166, "{}", sealed.len());
        assert_eq!(key.open("a2", &sealed), None);
        assert_eq!(UploadKey::from([8; 32]).open("a1", &sealed), None);
        assert_eq!(UploadKey::random().open("a1", &sealed), None);
    }

    #[test]
    fn an_id_that_was_changed_anywhere_does_not_open() {
        let key = UploadKey::from([7; 32]);
        let sealed = key.seal("a1", &upload(5));
        for at in 0..sealed.len() {
            let other = if sealed.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &sealed[..at], &sealed[at + 1..]);
            assert_eq!(key.open("a1", &changed), None, "{changed}");
            assert_eq!(key.open("a1", &sealed[..at]), None);
        }
        assert_eq!(key.open("a1", &format!("{sealed}A")), None);
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert_eq!(format!("{:?}", UploadKey::from([7; 32])), "UploadKey(…)");
    }
}
