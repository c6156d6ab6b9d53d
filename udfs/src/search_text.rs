//! The text of a message that the search index takes.

use mail_parser::{HeaderName, Message, MimeHeaders, PartType};

use crate::guard::guarded;
use crate::message::{self, text};

/// Body text kept at most; a text longer than this is found by its first part.
const MAX_BODY_BYTES: usize = 256 * 1024;
const MAX_FIELD_BYTES: usize = 16 * 1024;
const MAX_NAMES: usize = 1000;

/// What can be searched in a message, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchText {
    pub subject: String,
    /// Text of all bodies and embedded messages, HTML as text; at most 256 KB.
    pub body: String,
    pub attachment_names: Vec<String>,
    /// Names and addresses, separated by spaces, as the three below.
    pub from: String,
    pub to: String,
    pub cc: String,
    pub bcc: String,
}

/// The searchable text of `raw`; empty fields for what cannot be read.
pub fn searchable_text(raw: &[u8]) -> SearchText {
    guarded("searchable text", || read(raw)).unwrap_or_default()
}

fn read(raw: &[u8]) -> SearchText {
    let prepared = message::prepare(raw);
    let opened = prepared.open();
    let Some(message) = &opened.message else {
        let start = &raw[..raw.len().min(MAX_BODY_BYTES)];
        return SearchText { body: message::charset::decode_guessing(start, None).into_owned(), ..Default::default() };
    };
    let mut attachment_names = Vec::new();
    names(message, &mut attachment_names);
    SearchText {
        subject: text::cut(message.subject().unwrap_or_default(), MAX_FIELD_BYTES).to_owned(),
        body: text::body_text(message, MAX_BODY_BYTES, true),
        attachment_names,
        from: addresses(message, HeaderName::From),
        to: addresses(message, HeaderName::To),
        cc: addresses(message, HeaderName::Cc),
        bcc: addresses(message, HeaderName::Bcc),
    }
}

fn names(message: &Message<'_>, found: &mut Vec<String>) {
    for part in &message.parts {
        if found.len() >= MAX_NAMES {
            return;
        }
        found.extend(part.attachment_name().map(|name| text::flatten(name, 255)).filter(|name| !name.is_empty()));
        if let PartType::Message(embedded) = &part.body {
            names(embedded, found);
        }
    }
}

fn addresses(message: &Message<'_>, name: HeaderName<'static>) -> String {
    let mut text = String::new();
    for field in message.header_values(name).filter_map(|value| value.as_address()) {
        for word in field.iter().flat_map(|entry| [entry.name(), entry.address()]).flatten() {
            if text.len() + word.len() >= MAX_FIELD_BYTES {
                return text;
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_attachments_and_addresses_are_searchable() {
        let raw = b"From: \"Kim\" <kim@example.org>\r\nTo: a@example.org, b@example.org\r\nSubject: Plan\r\n\
            Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
            <p>Hello &amp; <b>welcome</b></p>\r\n--x\r\nContent-Type: application/pdf; name=\"plan.pdf\"\r\n\r\n%PDF\r\n--x--\r\n";
        let text = searchable_text(raw);
        assert_eq!(text.subject, "Plan");
        assert_eq!(text.body.trim(), "Hello & welcome");
        assert_eq!(text.attachment_names, ["plan.pdf"]);
        assert_eq!(text.from, "Kim kim@example.org");
        assert_eq!(text.to, "a@example.org b@example.org");
    }
}
