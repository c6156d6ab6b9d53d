//! What is wrong with a message: fixed words, so that rules can count them.

use mail_parser::{HeaderName, Message, MimeHeaders, PartType};
use memchr::{memchr, memchr2_iter, memmem};

use super::date;
use crate::message::{Prepared, for_each_leaf, text};

/// In this order: bytes, header fields, parts. Each word at most once.
pub(super) fn list(message: &Message<'_>, prepared: &Prepared<'_>) -> Vec<String> {
    let mut defects = prepared.defects.clone();
    let raw = prepared.bytes.as_ref();
    note(&mut defects, memchr(0, raw).is_some(), "nul-byte");
    note(&mut defects, has_bare_line_end(raw), "bare-line-end");
    header(message, &mut defects);
    parts(message, raw, &mut defects);
    defects.into_iter().map(str::to_owned).collect()
}

fn header(message: &Message<'_>, defects: &mut Vec<&'static str>) {
    let count = |name: HeaderName<'static>| message.headers().iter().filter(|field| field.name == name).count();
    note(defects, count(HeaderName::From) == 0, "no-from");
    note(defects, count(HeaderName::From) > 1, "several-from");
    note(defects, count(HeaderName::Subject) > 1, "several-subject");
    note(defects, count(HeaderName::Date) == 0, "no-date");
    let is_date_bad = count(HeaderName::Date) > 0 && message.date().and_then(date::rfc3339).is_none();
    note(defects, is_date_bad, "bad-date");
    note(defects, count(HeaderName::MessageId) == 0, "no-message-id");
    note(defects, count(HeaderName::MessageId) > 1, "several-message-id");
    note(defects, message.subject().is_some_and(|subject| subject.contains('\u{fffd}')), "undecodable-subject");
}

fn parts(message: &Message<'_>, raw: &[u8], defects: &mut Vec<&'static str>) {
    let (mut is_encoding_bad, mut is_charset_unknown) = (false, false);
    for_each_leaf(message, &mut |_, part| {
        is_encoding_bad |= part.is_encoding_problem;
        is_charset_unknown |= part.is_text() && text::has_unknown_charset(part);
    });
    note(defects, is_encoding_bad, "bad-transfer-encoding");
    note(defects, is_charset_unknown, "unknown-charset");
    let multipart = message.parts.iter().find(|part| text::is_declared_multipart(part));
    let Some(part) = multipart else { return };
    note(defects, !matches!(part.body, PartType::Multipart(_)), "no-boundary");
    if let (PartType::Multipart(_), Some(boundary)) = (&part.body, boundary_of(part)) {
        note(defects, !has_close(raw, boundary.as_bytes()), "unclosed-multipart");
    }
}

fn boundary_of<'a>(part: &'a mail_parser::MessagePart<'_>) -> Option<&'a str> {
    part.content_type()?.attribute("boundary")
}

/// The close delimiter `--boundary--` (RFC 2046 section 5.1.1), searched from the end.
fn has_close(raw: &[u8], boundary: &[u8]) -> bool {
    memmem::rfind(raw, &[b"--", boundary, b"--"].concat()).is_some()
}

/// Whether there is a CR or an LF without the other.
fn has_bare_line_end(raw: &[u8]) -> bool {
    memchr2_iter(b'\r', b'\n', raw).any(|at| match raw[at] {
        b'\r' => raw.get(at + 1) != Some(&b'\n'),
        _ => at == 0 || raw[at - 1] != b'\r',
    })
}

fn note(defects: &mut Vec<&'static str>, is_so: bool, word: &'static str) {
    if is_so && !defects.contains(&word) {
        defects.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_line_ends_are_seen() {
        assert!(!has_bare_line_end(b"a\r\nb\r\n"));
        assert!(has_bare_line_end(b"a\nb\r\n"));
        assert!(has_bare_line_end(b"a\rb\r\n"));
        assert!(has_bare_line_end(b"a\r"));
    }
}
