//! first_seen: the same bytes received again for the same account, as a client sends that missed our 250.

use millrace_storage::{Claim, FirstSeen};
use serde_json::json;

use crate::guard::error_value;

/// Which rules made the answer.
pub const VERSION: &str = "first-seen/1";

/// `{"first": <message id of the first claimant>}`, or `{"error": …}` for arguments that say nothing.
///
/// `recipient` is an entry of a reception's recipients, `account address`: one account counts once, whichever of
/// its addresses was used.
///
/// # Errors
/// First-seen cannot answer now.
pub(crate) async fn claim(
    store: &dyn FirstSeen,
    recipient: &str,
    body_digest: &str,
    message_id: &str,
    received_at_us: i64,
) -> Result<String, String> {
    let account = recipient.split(' ').next().unwrap_or_default();
    if account.is_empty() || body_digest.is_empty() || message_id.is_empty() {
        return Ok(error_value("recipient, body digest and message id must not be empty", VERSION));
    }
    let claim = store.claim(key(account, body_digest), message_id, received_at_us).await;
    let first = match claim.map_err(|error| error.to_string())? {
        Claim::First => message_id.to_owned(),
        Claim::Taken(first) => first,
    };
    Ok(json!({"first": first, "version": VERSION}).to_string())
}

/// BLAKE3 over account and digest, each with its length before it, so that no two pairs are written alike.
fn key(account: &str, body_digest: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for field in [account, body_digest] {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_account_and_by_digest() {
        assert_eq!(key("a", "d"), key("a", "d"));
        assert_ne!(key("a", "d"), key("b", "d"));
        assert_ne!(key("a", "bd"), key("ab", "d"));
    }
}
