//! One Rust type per topic. The fields are described in `avro/<topic>/v<newest>.avsc`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Topic;

/// A type that is the value of a topic's records.
pub trait AvroRecord: Serialize + DeserializeOwned + Send {
    const TOPIC: Topic;

    fn key(&self) -> &str;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reception {
    pub message_id: String,
    pub received_at_us: i64,
    pub origin: String,
    pub remote_ip: String,
    pub helo: String,
    pub server_name: String,
    pub is_tls: bool,
    pub is_smtputf8: bool,
    pub reverse_path: Option<String>,
    pub forward_path: Vec<String>,
    pub recipients: Vec<String>,
    pub body: String,
    pub trace_bytes: i64,
    pub size_bytes: i64,
    pub body_digest: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Screened {
    pub message_id: String,
    pub received_at_us: i64,
    pub origin: String,
    pub remote_ip: String,
    pub helo: String,
    pub reverse_path: Option<String>,
    pub forward_path: Vec<String>,
    pub body: String,
    pub size_bytes: i64,
    pub from_domain: Option<String>,
    pub subject: Option<String>,
    pub spf: Option<String>,
    pub dkim: Option<String>,
    pub dmarc: Option<String>,
    pub arc: Option<String>,
    pub authentication: Option<String>,
    pub virus: Option<String>,
    pub virus_name: Option<String>,
    pub spam: Option<String>,
    pub spam_score: Option<f64>,
    pub disposition: String,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MailboxChange {
    /// [`MailboxChange::DELIVERED`] or [`MailboxChange::UPDATED`].
    pub kind: String,
    pub account_id: String,
    pub email_id: String,
    pub changed_at_us: i64,
    pub message_id: Option<String>,
    pub received_at_us: Option<i64>,
    pub recipient: Option<String>,
    pub body: Option<String>,
    pub size_bytes: Option<i64>,
    pub mailbox: Option<String>,
    pub summary: Option<String>,
    pub patch: Option<String>,
    /// The change holds only when no other of the account lies from this offset to the first of its [`call`](Self::call).
    pub if_unchanged_since: Option<i64>,
    /// What all changes of one call have in common, and no other.
    pub call: Option<String>,
}

impl MailboxChange {
    pub const DELIVERED: &'static str = "delivered";
    pub const UPDATED: &'static str = "updated";
}

/// What an `updated` change does, kept as JSON in [`MailboxChange::patch`]. A patch says what to change,
/// not what the result is, so that two writers who do not know of each other both have their way; the order
/// on the partition decides where they meet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailboxPatch {
    /// Replaces all mailboxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_mailboxes: Option<Vec<String>>,
    /// Mailbox id to whether the email is in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mailboxes: BTreeMap<String, bool>,
    /// Replaces all keywords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_keywords: Option<Vec<String>>,
    /// Keyword to whether the email has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keywords: BTreeMap<String, bool>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_destroyed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub message_id: String,
    pub at_us: i64,
    pub event: String,
    pub account_id: Option<String>,
    pub recipient: String,
    pub email_id: Option<String>,
    pub reverse_path: Option<String>,
    pub remote_ip: Option<String>,
    pub size_bytes: i64,
    pub detail: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub stage: String,
    pub error: String,
    pub failed_at_us: i64,
    pub message_id: Option<String>,
    pub recipient: Option<String>,
    pub body: Option<String>,
    pub topic: Option<String>,
    pub partition: Option<i64>,
    pub offset: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// `domain`, `account` or `alias`.
    pub kind: String,
    pub name: String,
    pub changed_at_us: i64,
    pub is_removed: bool,
    pub address: Option<String>,
    pub password_hash: Option<String>,
    pub quota_bytes: Option<i64>,
    pub targets: Vec<String>,
}

/// A writer schema that somebody registered; [`crate::Registrations`] says which of them hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SchemaEntry {
    pub entry_id: String,
    pub id: i64,
    pub subject: String,
    /// In Avro's parsing canonical form.
    pub schema: String,
    pub registered_at_us: i64,
}

macro_rules! avro_record {
    ($($record:ty => $topic:ident by $key:ident;)*) => {
        $(impl AvroRecord for $record {
            const TOPIC: Topic = Topic::$topic;

            fn key(&self) -> &str {
                &self.$key
            }
        })*
    };
}

avro_record! {
    Reception => Reception by message_id;
    Screened => Screened by message_id;
    MailboxChange => MailboxChanges by account_id;
    Delivery => Delivery by message_id;
    DeadLetter => DeadLetter by stage;
    DirectoryEntry => Directory by name;
    SchemaEntry => Schemas by entry_id;
}
