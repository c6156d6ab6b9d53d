//! What is known of an email: its facts, which never change, and versions of what does.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::labels::{self, DRAFT, Labels, SEEN};
use super::summary::Summary;

/// The facts of a delivered email.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub account_id: String,
    pub email_id: String,
    pub message_id: String,
    pub thread_id: String,
    pub received_at_us: i64,
    pub sent_at_us: Option<i64>,
    pub recipient: String,
    /// Size of the stored body, trace headers included.
    pub size_bytes: i64,
    /// Reference to the stored body.
    pub body: String,
    pub summary: Summary,
    /// The mailbox it was delivered to.
    pub mailbox: String,
    pub seq: u64,
}

/// The state of an email after the change at `seq`.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailVersion {
    pub email_id: Arc<str>,
    pub thread_id: Arc<str>,
    pub received_at_us: i64,
    pub size_bytes: i64,
    pub mailboxes: Labels,
    pub keywords: Labels,
    pub is_destroyed: bool,
    pub seq: u64,
    pub created_seq: u64,
    /// Whether this change made it read or unread: the other side of `email_state` then gets a tombstone.
    pub has_crossed: bool,
    /// Carried until the tables have them.
    pub facts: Option<Arc<Facts>>,
}

/// The form in the hot store: JSON with short names.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(borrow, rename = "e")]
    email_id: Cow<'a, str>,
    #[serde(borrow, rename = "t")]
    thread_id: Cow<'a, str>,
    #[serde(rename = "r")]
    received_at_us: i64,
    #[serde(rename = "b")]
    size_bytes: i64,
    #[serde(rename = "m")]
    mailboxes: Vec<Cow<'a, str>>,
    #[serde(rename = "k")]
    keywords: Vec<Cow<'a, str>>,
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    is_destroyed: bool,
    #[serde(rename = "s")]
    seq: u64,
    #[serde(rename = "c")]
    created_seq: u64,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    has_crossed: bool,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    facts: Option<Cow<'a, Facts>>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "a version in the hot store cannot be read: {0}; start the lander again, which fills the hot store from the log"
)]
pub struct BadVersion(#[from] serde_json::Error);

impl EmailVersion {
    pub fn is_read(&self) -> bool {
        labels::has(&self.keywords, SEEN)
    }

    /// Neither read nor a draft, and still there (RFC 8621, 2: `unreadEmails`).
    pub fn is_unread(&self) -> bool {
        !self.is_destroyed && !self.is_read() && !labels::has(&self.keywords, DRAFT)
    }

    pub fn is_in(&self, mailbox: &str) -> bool {
        labels::has(&self.mailboxes, mailbox)
    }

    /// Whether this version is the delivery itself.
    pub fn is_delivery(&self) -> bool {
        self.seq == self.created_seq
    }

    pub fn encode(&self) -> Bytes {
        let stored = Stored {
            email_id: Cow::Borrowed(&self.email_id),
            thread_id: Cow::Borrowed(&self.thread_id),
            received_at_us: self.received_at_us,
            size_bytes: self.size_bytes,
            mailboxes: self.mailboxes.iter().map(|label| Cow::Borrowed(label.as_ref())).collect(),
            keywords: self.keywords.iter().map(|label| Cow::Borrowed(label.as_ref())).collect(),
            is_destroyed: self.is_destroyed,
            seq: self.seq,
            created_seq: self.created_seq,
            has_crossed: self.has_crossed,
            facts: self.facts.as_deref().map(Cow::Borrowed),
        };
        serde_json::to_vec(&stored).expect("a version has only text keys, so that JSON always takes it").into()
    }

    /// # Errors
    /// [`BadVersion`] when the bytes are not of [`EmailVersion::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadVersion> {
        let stored: Stored<'_> = serde_json::from_slice(bytes)?;
        Ok(Self {
            email_id: stored.email_id.as_ref().into(),
            thread_id: stored.thread_id.as_ref().into(),
            received_at_us: stored.received_at_us,
            size_bytes: stored.size_bytes,
            mailboxes: labels::labels(&stored.mailboxes),
            keywords: labels::labels(&stored.keywords),
            is_destroyed: stored.is_destroyed,
            seq: stored.seq,
            created_seq: stored.created_seq,
            has_crossed: stored.has_crossed,
            facts: stored.facts.map(|facts| Arc::new(facts.into_owned())),
        })
    }

    /// The same without the facts: small, for views.
    pub(crate) fn without_facts(mut self) -> Self {
        self.facts = None;
        self
    }
}
