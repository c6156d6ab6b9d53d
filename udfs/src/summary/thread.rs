//! Threads, without state: the root that a message names decides, so that a replay gives the same.

/// The thread of a message: the first id of References, else of In-Reply-To, else its own, else its bytes.
pub(super) fn id_of(references: &[String], in_reply_to: &[String], message_id: &[String], raw: &[u8]) -> String {
    let root = references.first().or(in_reply_to.first()).or(message_id.first());
    let digest = blake3::hash(root.map_or(raw, |id| id.as_bytes()));
    format!("t{}", &digest.to_hex()[..20])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_joins_the_thread_of_its_root() {
        let ids = |text: &str| vec![text.to_owned()];
        let root = id_of(&[], &[], &ids("root@x"), b"1");
        assert_eq!(root, id_of(&ids("root@x"), &ids("other@x"), &ids("reply@x"), b"2"));
        assert_eq!(root, id_of(&[], &ids("root@x"), &ids("reply@x"), b"3"));
        assert_ne!(root, id_of(&[], &[], &ids("another@x"), b"1"));
        assert_eq!(root.len(), 21);
    }
}
