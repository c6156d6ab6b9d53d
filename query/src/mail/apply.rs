//! What a record of `mailbox.changes` makes of an email. Pure: a replay of the log gives the same versions.

use std::sync::Arc;

use millrace_schemas::{MailboxChange, MailboxPatch};

use super::labels;
use super::summary::{Summary, sent_at_us};
use super::version::{EmailVersion, Facts};

/// The version after `change`, the record at `seq`; `None` when it changes nothing: a delivery of an email that is or
/// was there, a patch to one that is not, a patch that cannot be read, changes nothing or would leave no mailbox.
pub fn apply(current: Option<&EmailVersion>, change: &MailboxChange, seq: u64) -> Option<EmailVersion> {
    match change.kind.as_str() {
        MailboxChange::DELIVERED if current.is_none() => Some(deliver(change, seq)),
        MailboxChange::UPDATED => {
            let patch = serde_json::from_str(change.patch.as_deref()?).ok()?;
            update(current?, &patch, seq)
        }
        _ => None,
    }
}

fn deliver(change: &MailboxChange, seq: u64) -> EmailVersion {
    let summary = Summary::parse(change.summary.as_deref().unwrap_or("{}"));
    let mailbox = change.mailbox.as_deref().filter(|mailbox| !mailbox.is_empty()).unwrap_or("inbox");
    let message_id = change.message_id.clone().unwrap_or_else(|| change.email_id.clone());
    let thread_id =
        if summary.thread_id.is_empty() { format!("t{}", change.email_id) } else { summary.thread_id.clone() };
    let facts = Facts {
        account_id: change.account_id.clone(),
        email_id: change.email_id.clone(),
        message_id,
        thread_id,
        received_at_us: change.received_at_us.unwrap_or(change.changed_at_us),
        sent_at_us: sent_at_us(&summary),
        recipient: change.recipient.clone().unwrap_or_default(),
        size_bytes: change.size_bytes.unwrap_or_default(),
        body: change.body.clone().unwrap_or_default(),
        summary,
        mailbox: mailbox.to_owned(),
        seq,
    };
    EmailVersion {
        email_id: facts.email_id.as_str().into(),
        thread_id: facts.thread_id.as_str().into(),
        received_at_us: facts.received_at_us,
        size_bytes: facts.size_bytes,
        mailboxes: labels::labels([mailbox]),
        keywords: Vec::new(),
        is_destroyed: false,
        seq,
        created_seq: seq,
        has_crossed: false,
        facts: Some(Arc::new(facts)),
    }
}

/// The version after `patch`; `None` as in [`apply`].
pub fn update(current: &EmailVersion, patch: &MailboxPatch, seq: u64) -> Option<EmailVersion> {
    if current.is_destroyed {
        return None;
    }
    let mut next = EmailVersion { seq, has_crossed: false, ..current.clone() };
    if patch.is_destroyed {
        next.is_destroyed = true;
        next.mailboxes.clear();
        return Some(next);
    }
    if let Some(mailboxes) = &patch.set_mailboxes {
        next.mailboxes = labels::labels(mailboxes);
    }
    if let Some(keywords) = &patch.set_keywords {
        next.keywords = labels::labels(keywords);
    }
    patch.mailboxes.iter().for_each(|(mailbox, is_in)| labels::set(&mut next.mailboxes, mailbox, *is_in));
    patch.keywords.iter().for_each(|(keyword, is_in)| labels::set(&mut next.keywords, keyword, *is_in));
    let is_same = next.mailboxes == current.mailboxes && next.keywords == current.keywords;
    if is_same || next.mailboxes.is_empty() {
        return None;
    }
    next.has_crossed = next.is_read() != current.is_read();
    Some(next)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn delivery() -> MailboxChange {
        MailboxChange {
            kind: MailboxChange::DELIVERED.into(),
            account_id: "a".into(),
            email_id: "e".into(),
            message_id: Some("e".into()),
            received_at_us: Some(5),
            size_bytes: Some(100),
            mailbox: Some("junk".into()),
            summary: Some(r#"{"subject":"s","thread_id":"t1"}"#.into()),
            ..MailboxChange::default()
        }
    }

    fn patch(text: &str) -> MailboxChange {
        MailboxChange {
            kind: MailboxChange::UPDATED.into(),
            account_id: "a".into(),
            email_id: "e".into(),
            patch: Some(text.into()),
            ..MailboxChange::default()
        }
    }

    #[test]
    fn a_delivery_goes_to_its_mailbox_once() {
        let version = apply(None, &delivery(), 7).unwrap();
        assert_eq!((version.seq, version.created_seq, version.received_at_us), (7, 7, 5));
        assert!(version.is_in("junk") && version.is_unread() && version.is_delivery());
        assert_eq!(version.facts.as_ref().unwrap().summary.subject.as_deref(), Some("s"));
        assert_eq!(apply(Some(&version), &delivery(), 8), None);
        assert_eq!(EmailVersion::decode(&version.encode()).unwrap(), version);
    }

    #[test]
    fn patches_meet_what_is_there() {
        let first = apply(None, &delivery(), 1).unwrap();
        let moved = apply(Some(&first), &patch(r#"{"mailboxes":{"junk":false,"inbox":true}}"#), 2).unwrap();
        assert!(moved.is_in("inbox") && !moved.is_in("junk") && !moved.has_crossed);
        let read = apply(Some(&moved), &patch(r#"{"keywords":{"$seen":true,"x":true}}"#), 3).unwrap();
        assert!(read.is_read() && read.has_crossed && read.created_seq == 1 && read.is_in("inbox"));
        let set = apply(Some(&read), &patch(r#"{"set_keywords":["b","a","b"]}"#), 4).unwrap();
        assert_eq!(set.keywords, labels::labels(["a", "b"]));
        assert!(set.has_crossed);
        assert_eq!(EmailVersion::decode(&set.encode()).unwrap(), set);
    }

    #[test]
    fn what_changes_nothing_makes_no_version() {
        let version = apply(None, &delivery(), 1).unwrap();
        for text in [r#"{"mailboxes":{"junk":false}}"#, r#"{"set_mailboxes":[]}"#, "{}", "{", r#"{"unknown":1}"#] {
            assert_eq!(apply(Some(&version), &patch(text), 2), None, "{text}");
        }
        assert_eq!(apply(None, &patch(r#"{"keywords":{"$seen":true}}"#), 2), None);
        let gone = apply(Some(&version), &patch(r#"{"is_destroyed":true}"#), 2).unwrap();
        assert!(gone.is_destroyed && gone.mailboxes.is_empty() && !gone.has_crossed);
        assert_eq!(apply(Some(&gone), &patch(r#"{"keywords":{"$seen":true}}"#), 3), None);
        assert_eq!(apply(Some(&gone), &delivery(), 3), None);
    }
}
