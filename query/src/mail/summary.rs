//! The summary of a message, as the stage function `summarise` made it at screening.

use serde::{Deserialize, Serialize};

/// What a mail list shows, and what `Email/get` answers without opening the body. Missing fields read as empty, so that
/// a summary of any version is readable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    pub subject: Option<String>,
    pub from: Vec<Address>,
    pub to: Vec<Address>,
    pub cc: Vec<Address>,
    pub bcc: Vec<Address>,
    pub reply_to: Vec<Address>,
    pub sender: Vec<Address>,
    pub message_id: Vec<String>,
    pub in_reply_to: Vec<String>,
    pub references: Vec<String>,
    /// RFC 3339 with the sender's offset.
    pub sent_at: Option<String>,
    pub thread_id: String,
    /// At most 256 characters.
    pub preview: String,
    pub has_attachment: bool,
    pub attachments: Vec<Attachment>,
    pub language: Option<String>,
    /// How many MIME parts the message has.
    pub parts: u64,
    pub defects: Vec<String>,
    /// The version of the rules that made it.
    pub version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    pub name: Option<String>,
    pub email: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub media_type: String,
    pub size: u64,
}

impl Summary {
    /// Reads a summary; one that cannot be read becomes an empty one that says so, since the mail itself must be shown.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "a summary cannot be read and is taken as empty");
            Self { defects: vec!["summary unreadable".to_owned()], ..Self::default() }
        })
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a summary has only text keys, so that JSON always takes it")
    }

    /// [`Summary::sent_at`] in microseconds since 1970 UTC.
    pub fn sent_at_us(&self) -> Option<i64> {
        let text = self.sent_at.as_deref()?;
        Some(chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_another_version_or_a_damaged_one_still_reads() {
        let summary = Summary::parse(
            r#"{"subject":"안녕","from":[{"name":null,"email":"a@b"}],"sent_at":"2026-11-23T10:00:00+09:00","new":1}"#,
        );
        assert_eq!(summary.subject.as_deref(), Some("안녕"));
        assert_eq!(summary.from[0].email, "a@b");
        assert_eq!(summary.sent_at_us(), Some(1_795_395_600_000_000));
        assert_eq!(Summary::parse("{").defects, ["summary unreadable"]);
        assert_eq!(Summary::parse(&summary.to_json()), summary);
    }
}
