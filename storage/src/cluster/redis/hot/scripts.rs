//! The scripts of the hot store, and keys and values as they take them.

use fred::types::Key;

use crate::cluster::redis::script::{Script, script};

pub(super) static TAKE: Script = script!("take", after "held");
pub(super) static APPLY: Script = script!("apply", after "held");
pub(super) static RELEASE: Script = script!("release", after "held");
pub(super) static READ: Script = script!("read", after "held");
pub(super) static NEWEST: Script = script!("newest", after "held");
pub(super) static APPLIED_TO: Script = script!("applied_to", after "held");

/// Offsets are numbers of Lua, which are exact up to here: 285 years of a million records a second.
pub(super) const MAX_OFFSET: u64 = 1 << 53;

/// The keys of a partition, as `held.lua` names them; the braces keep them on one node.
pub(in crate::cluster::redis) fn keys(prefix: &str, partition: u32) -> [Key; 4] {
    ["meta", "rows", "accounts", "newest"].map(|what| Key::from(format!("{{{prefix}:hot:{partition}}}:{what}")))
}

/// An account as the scripts write it.
pub(in crate::cluster::redis) fn account_key(account_id: &str) -> String {
    format!("{:08x}{account_id}", account_id.len())
}

/// Splits what begins with an [`account_key`].
pub(in crate::cluster::redis) fn split_account(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_at_checked(8)?;
    let length = usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).ok()?;
    let (account_id, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(account_id).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_never_the_beginning_of_another() {
        for (one, other) in [("a", "ab"), ("", "a"), ("é", "éé")] {
            assert!(!account_key(other).starts_with(&account_key(one)));
            let joined = account_key(one) + other;
            assert_eq!(split_account(joined.as_bytes()), Some((one, other.as_bytes())));
        }
    }
}
