//! Properties that are known without the body.

use chrono::{DateTime, SecondsFormat};
use millrace_query::mail::{Address, EmailVersion, Facts};
use serde_json::{Map, Value, json};

use super::header::nfc;
use crate::jmap::blob_id::BlobId;

/// The value of a property of [`super::property::Property::Metadata`].
pub fn value(name: &str, email: &EmailVersion, facts: Option<&Facts>) -> Value {
    match name {
        "id" => (*email.email_id).into(),
        "blobId" => BlobId::of_email(&email.email_id).into(),
        "threadId" => (*email.thread_id).into(),
        "mailboxIds" => set_of(&email.mailboxes),
        "keywords" => set_of(&email.keywords),
        "size" => email.size_bytes.into(),
        "receivedAt" => utc_date(email.received_at_us),
        _ => facts.map_or(Value::Null, |facts| summary_value(name, facts)),
    }
}

fn summary_value(name: &str, facts: &Facts) -> Value {
    let summary = &facts.summary;
    match name {
        "messageId" => ids(&summary.message_id),
        "inReplyTo" => ids(&summary.in_reply_to),
        "references" => ids(&summary.references),
        "sender" => addresses(&summary.sender),
        "from" => addresses(&summary.from),
        "to" => addresses(&summary.to),
        "cc" => addresses(&summary.cc),
        "bcc" => addresses(&summary.bcc),
        "replyTo" => addresses(&summary.reply_to),
        "subject" => json!(summary.subject.as_deref().map(nfc)),
        "sentAt" => json!(summary.sent_at),
        "hasAttachment" => summary.has_attachment.into(),
        "preview" => summary.preview.as_str().into(),
        _ => Value::Null,
    }
}

/// `{"a": true, …}`.
fn set_of<T: AsRef<str>>(labels: &[T]) -> Value {
    labels.iter().map(|label| (label.as_ref().to_owned(), Value::Bool(true))).collect::<Map<_, _>>().into()
}

/// Seconds are as fine as a UTCDate of ours gets.
pub(crate) fn utc_date(at_us: i64) -> Value {
    match DateTime::from_timestamp_micros(at_us) {
        Some(at) => at.to_rfc3339_opts(SecondsFormat::Secs, true).into(),
        None => Value::Null,
    }
}

fn ids(ids: &[String]) -> Value {
    if ids.is_empty() { Value::Null } else { json!(ids) }
}

fn addresses(addresses: &[Address]) -> Value {
    if addresses.is_empty() {
        return Value::Null;
    }
    addresses
        .iter()
        .map(|address| json!({ "name": address.name.as_deref().map(nfc), "email": address.email }))
        .collect()
}
