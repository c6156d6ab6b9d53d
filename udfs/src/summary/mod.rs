//! summarise: what a list of mail shows of a message, and what threads and searches need.

mod address;
mod attachment;
mod date;
mod defect;
mod language;
mod thread;

use mail_parser::{HeaderName, HeaderValue, Message, PartType};
use serde::{Deserialize, Serialize};

pub use address::SummaryAddress;
pub use attachment::SummaryAttachment;

use crate::guard::guarded;
use crate::message::{self, text};

/// Which rules made a summary.
pub const VERSION: &str = "summary/3";

const MAX_SUBJECT_CHARS: usize = 998;
const MAX_PREVIEW_CHARS: usize = 256;
/// Text that a preview and the language are taken from.
const PREVIEW_SOURCE_BYTES: usize = 8 * 1024;
/// JSON of a summary: each recipient's record has it, and its lists are what a sender chooses.
const MAX_JSON_BYTES: usize = 64 * 1024;
const MAX_IDS: usize = 100;
const MAX_ID_CHARS: usize = 512;
/// The defect of a message whose lists were too long for a summary.
const LISTS_CUT: &str = "lists-cut";

/// A message's structure, addresses, subject, preview and attachments. Every list and text is bounded. Missing fields
/// read as empty, so that a summary of any version is readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    pub subject: Option<String>,
    pub from: Vec<SummaryAddress>,
    pub to: Vec<SummaryAddress>,
    pub cc: Vec<SummaryAddress>,
    pub bcc: Vec<SummaryAddress>,
    pub reply_to: Vec<SummaryAddress>,
    pub sender: Vec<SummaryAddress>,
    /// Without angle brackets, as the two below.
    pub message_id: Vec<String>,
    pub in_reply_to: Vec<String>,
    pub references: Vec<String>,
    /// The Date field, RFC 3339 with its offset.
    pub sent_at: Option<String>,
    /// `t` and 20 hexadecimal digits, the same for all messages of a thread.
    pub thread_id: String,
    /// At most 256 characters of the body's text.
    pub preview: String,
    /// Whether something is attached that a reader would call an attachment.
    pub has_attachment: bool,
    pub attachments: Vec<SummaryAttachment>,
    /// RFC 5646 tag, said by the message or seen from its script.
    pub language: Option<String>,
    /// Parts, those of embedded messages included.
    pub parts: usize,
    /// What is wrong with the message, as short fixed words.
    pub defects: Vec<String>,
    pub version: String,
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

    /// Until no list has more than one entry, which is far below any limit.
    fn halve_lists(&mut self) {
        for addresses in
            [&mut self.from, &mut self.to, &mut self.cc, &mut self.bcc, &mut self.reply_to, &mut self.sender]
        {
            addresses.truncate(addresses.len().div_ceil(2));
        }
        for ids in [&mut self.message_id, &mut self.in_reply_to, &mut self.references] {
            ids.truncate(ids.len().div_ceil(2));
        }
        self.attachments.truncate(self.attachments.len().div_ceil(2));
        if self.defects.last().is_none_or(|last| last != LISTS_CUT) {
            self.defects.push(LISTS_CUT.to_owned());
        }
    }
}

/// The summary of `raw` as JSON of at most [`MAX_JSON_BYTES`]: lists that make it longer lose their ends.
pub(crate) fn summarise_to_json(raw: &[u8]) -> String {
    let mut summary = summarise(raw);
    let mut json = summary.to_json();
    while json.len() > MAX_JSON_BYTES {
        summary.halve_lists();
        json = summary.to_json();
    }
    json
}

/// Summarises `raw`. What cannot be read is left out and named in `defects`.
pub(crate) fn summarise(raw: &[u8]) -> Summary {
    guarded("summarise", || read(raw)).unwrap_or_else(|_| Summary {
        thread_id: thread::id_of(&[], &[], &[], raw),
        defects: vec!["unreadable".to_owned()],
        version: VERSION.to_owned(),
        ..Summary::default()
    })
}

fn read(raw: &[u8]) -> Summary {
    let prepared = message::prepare(raw);
    let opened = prepared.open();
    let Some(message) = &opened.message else { return without_header(raw, &prepared.defects) };
    let body = text::body_text(message, PREVIEW_SOURCE_BYTES, false);
    let message_id = ids(message, HeaderName::MessageId);
    let in_reply_to = ids(message, HeaderName::InReplyTo);
    let references = ids(message, HeaderName::References);
    let subject = message.subject().map(|subject| text::flatten(subject, MAX_SUBJECT_CHARS));
    Summary {
        from: address::list(message, HeaderName::From),
        to: address::list(message, HeaderName::To),
        cc: address::list(message, HeaderName::Cc),
        bcc: address::list(message, HeaderName::Bcc),
        reply_to: address::list(message, HeaderName::ReplyTo),
        sender: address::list(message, HeaderName::Sender),
        sent_at: message.date().and_then(date::rfc3339),
        thread_id: thread::id_of(&references, &in_reply_to, &message_id, raw),
        preview: text::flatten(&body, MAX_PREVIEW_CHARS),
        has_attachment: attachment::has_any(message),
        attachments: attachment::list(message),
        language: language::of(message, subject.as_deref(), &body),
        parts: count_parts(message),
        defects: defect::list(message, &prepared),
        subject,
        message_id,
        in_reply_to,
        references,
        version: VERSION.to_owned(),
    }
}

fn without_header(raw: &[u8], defects: &[&'static str]) -> Summary {
    let start = &raw[..raw.len().min(PREVIEW_SOURCE_BYTES)];
    let text = message::charset::decode_guessing(start, None);
    let mut defects: Vec<String> = defects.iter().map(|defect| (*defect).to_owned()).collect();
    defects.push(if raw.is_empty() { "empty" } else { "no-header" }.to_owned());
    Summary {
        thread_id: thread::id_of(&[], &[], &[], raw),
        preview: text::flatten(&text, MAX_PREVIEW_CHARS),
        defects,
        version: VERSION.to_owned(),
        ..Summary::default()
    }
}

/// Message ids of every field of that name, without doubles.
fn ids(message: &Message<'_>, name: HeaderName<'static>) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for value in message.header_values(name) {
        let found: &[std::borrow::Cow<'_, str>] = match value {
            HeaderValue::Text(id) => std::slice::from_ref(id),
            HeaderValue::TextList(list) => list,
            _ => continue,
        };
        for id in found.iter().take(MAX_IDS) {
            let id = text::flatten(id, MAX_ID_CHARS);
            if !id.is_empty() && ids.len() < MAX_IDS && !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    ids
}

fn count_parts(message: &Message<'_>) -> usize {
    let embedded = |part: &mail_parser::MessagePart<'_>| match &part.body {
        PartType::Message(embedded) => count_parts(embedded),
        _ => 0,
    };
    message.parts.iter().map(|part| 1 + embedded(part)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_are_too_long_in_all_lose_their_ends() {
        let name = "견".repeat(80);
        let list = (0..900).map(|n| format!("\"{name}\" <a{n}@b.example>")).collect::<Vec<_>>().join(",\r\n ");
        let raw = format!("From: {list}\r\nTo: {list}\r\nCc: {list}\r\nSubject: many\r\n\r\nhi\r\n");
        let json = summarise_to_json(raw.as_bytes());
        assert!((MAX_JSON_BYTES / 4..=MAX_JSON_BYTES).contains(&json.len()), "{}", json.len());
        let summary = Summary::parse(&json);
        assert_eq!((summary.subject.as_deref(), summary.preview.as_str()), (Some("many"), "hi"));
        assert_eq!(summary.to[0].email, "a0@b.example");
        assert_eq!(summary.defects.iter().filter(|defect| *defect == LISTS_CUT).count(), 1);
        let whole = Summary::parse(&summarise_to_json(b"From: a@b.example\r\n\r\nhi\r\n"));
        assert!(!whole.defects.iter().any(|defect| defect == LISTS_CUT));
    }

    #[test]
    fn a_summary_of_another_version_or_a_damaged_one_still_reads() {
        let summary = Summary::parse(r#"{"subject":"안녕","from":[{"name":null,"email":"a@b"}],"new":1}"#);
        assert_eq!(summary.subject.as_deref(), Some("안녕"));
        assert_eq!(summary.from[0].email, "a@b");
        assert_eq!(Summary::parse("{").defects, ["summary unreadable"]);
        assert_eq!(Summary::parse(&summary.to_json()), summary);
    }
}
