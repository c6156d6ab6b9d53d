//! Messages of the channel: `B` and a name, or `C` and a step of a partition, as `apply.lua` writes it.

use super::super::hot::split_account;
use crate::hot::Changed;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// Somebody is there.
    Beat(&'a str),
    /// The records of a partition from `from` to before `to` were applied.
    Step { partition: u32, from: u64, to: u64, changes: Vec<Changed> },
}

pub(super) fn beat(name: &str) -> String {
    format!("B{name}")
}

pub(super) fn parse(message: &[u8]) -> Option<Heard<'_>> {
    let (kind, rest) = message.split_first()?;
    match kind {
        b'B' => Some(Heard::Beat(std::str::from_utf8(rest).ok()?)),
        b'C' => {
            let (partition, rest) = number(rest, 10)?;
            let (from, rest) = number(rest, 20)?;
            let (to, mut rest) = number(rest, 20)?;
            let mut changes = Vec::new();
            while !rest.is_empty() {
                let (seq, after_seq) = number(rest, 20)?;
                let (account_id, after) = split_account(after_seq)?;
                changes.push(Changed { account_id: account_id.into(), seq });
                rest = after;
            }
            Some(Heard::Step { partition: u32::try_from(partition).ok()?, from, to, changes })
        }
        _ => None,
    }
}

fn number(bytes: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_at_checked(digits)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::hot::account_key;
    use super::*;

    proptest! {
        #[test]
        fn what_the_script_writes_is_read(
            partition: u32,
            from in 0..1_u64 << 53,
            to in 0..1_u64 << 53,
            changes in proptest::collection::vec((0..1_u64 << 53, "\\PC{0,20}"), 0..10),
        ) {
            let mut message = format!("C{partition:010}{from:020}{to:020}");
            for (seq, account_id) in &changes {
                message += &format!("{seq:020}{}", account_key(account_id));
            }
            let changes =
                changes.into_iter().map(|(seq, account_id)| Changed { account_id: account_id.into(), seq }).collect();
            prop_assert_eq!(parse(message.as_bytes()), Some(Heard::Step { partition, from, to, changes }));
        }

        #[test]
        fn any_bytes_are_read_or_not_without_a_panic(bytes: Vec<u8>) {
            let _ = parse(&[b"C".as_slice(), &bytes].concat());
        }
    }
}
