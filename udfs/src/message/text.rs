//! The text of a message's bodies: decoded, HTML turned to text, never more than asked for.

use std::borrow::Cow;

use encoding_rs::Encoding;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding as Transfer, Message, MessagePart, MimeHeaders, PartType};

use super::{charset, transfer};
use crate::guard::guarded;

/// HTML that is turned into text at most; what lies beyond is markup of no reader.
const MAX_HTML_BYTES: usize = 1 << 20;

/// The text of the bodies that a reader sees, in order, at most about `limit` bytes. Embedded messages count when
/// `is_embedded_wanted`.
pub(crate) fn body_text(message: &Message<'_>, limit: usize, is_embedded_wanted: bool) -> String {
    let mut text = String::new();
    collect(message, limit, is_embedded_wanted, &mut text);
    text
}

fn collect(message: &Message<'_>, limit: usize, is_embedded_wanted: bool, text: &mut String) {
    let misplaced = message.parts.iter().enumerate().filter(|(_, part)| is_misplaced_text(part));
    let misplaced = misplaced.map(|(index, _)| index as u32).filter(|index| !message.text_body.contains(index));
    for index in message.text_body.iter().copied().chain(misplaced) {
        let Some(part) = message.parts.get(index as usize) else { continue };
        append(text, &part_text(message, part), limit);
        if text.len() >= limit {
            return;
        }
    }
    // A multipart without parts is shown as it stands.
    if let [part] = message.parts.as_slice()
        && let PartType::Binary(bytes) = &part.body
        && is_declared_multipart(part)
    {
        append(text, &charset::decode_guessing(&bytes[..bytes.len().min(limit)], None), limit);
    }
    if is_embedded_wanted {
        for part in &message.parts {
            if let PartType::Message(embedded) = &part.body {
                collect(embedded, limit, true, text);
            }
        }
    }
}

fn append(text: &mut String, more: &str, limit: usize) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(cut(more, limit.saturating_sub(text.len())));
}

/// The longest prefix of `text` that has at most `limit` bytes.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// Whether a part is text to read that the parser, not able to decode it, has put among the attachments.
pub(crate) fn is_misplaced_text(part: &MessagePart<'_>) -> bool {
    let is_text = part.content_type().is_none_or(|kind| kind.ctype().eq_ignore_ascii_case("text"));
    let is_attached = part.content_disposition().is_some_and(|disposition| disposition.is_attachment());
    part.is_encoding_problem && is_text && !is_attached && part.attachment_name().is_none()
}

/// A text part's text; empty for any other part.
pub(crate) fn part_text<'a>(message: &Message<'_>, part: &'a MessagePart<'_>) -> Cow<'a, str> {
    if part.is_encoding_problem
        && let Some(octets) = transfer::undone(message, part).filter(|octets| is_text(octets))
    {
        return Cow::Owned(decoded_text(part, &octets));
    }
    match &part.body {
        PartType::Text(text) => recoded(message, part, text),
        PartType::Html(html) => Cow::Owned(text_of_html(&recoded(message, part, html))),
        _ => Cow::Borrowed(""),
    }
}

/// Whether octets may be text in any charset: what was never encoded and says that it is decodes to control characters.
fn is_text(octets: &[u8]) -> bool {
    octets.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0c' | b'\x1b'))
}

fn text_of_html(html: &str) -> String {
    guarded("html to text", || html_to_text(cut(html, MAX_HTML_BYTES))).unwrap_or_default()
}

/// Text of octets, by the charset that the part names where it fits.
fn decoded_text(part: &MessagePart<'_>, octets: &[u8]) -> String {
    let kind = part.content_type();
    let named = kind.and_then(|kind| kind.attribute("charset")).and_then(|label| Encoding::for_label(label.as_bytes()));
    let text = charset::decode_guessing(octets, named);
    if kind.and_then(|kind| kind.subtype()).is_some_and(|subtype| subtype.eq_ignore_ascii_case("html")) {
        return text_of_html(&text);
    }
    text.into_owned()
}

/// `text` as the parser decoded it, or decoded again when the part names no charset that fits its bytes.
pub(crate) fn recoded<'a>(message: &Message<'_>, part: &MessagePart<'_>, text: &'a str) -> Cow<'a, str> {
    if text.is_ascii() && !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let label = part.content_type().and_then(|kind| kind.attribute("charset")).unwrap_or("us-ascii");
    let named = Encoding::for_label(label.as_bytes());
    if named.is_some() && !charset::is_ascii_label(label.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let raw = message.raw_message.get(part.offset_body as usize..part.offset_end as usize).unwrap_or_default();
    let bytes = match part.encoding {
        Transfer::None => Cow::Borrowed(raw),
        Transfer::QuotedPrintable => Cow::Owned(quoted_printable_decode(raw).unwrap_or_default()),
        Transfer::Base64 => Cow::Owned(base64_decode(raw).unwrap_or_default()),
    };
    if bytes.is_empty() {
        return Cow::Borrowed(text);
    }
    let in_markup = charset::declared(&bytes[..bytes.len().min(2048)]);
    Cow::Owned(charset::decode_guessing(&bytes, in_markup).into_owned())
}

/// Whether the part says that it has parts.
pub(crate) fn is_declared_multipart(part: &MessagePart<'_>) -> bool {
    part.content_type().is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("multipart"))
}

/// Whether a text part names a charset that nobody knows.
pub(crate) fn has_unknown_charset(part: &MessagePart<'_>) -> bool {
    let label = part.content_type().and_then(|kind| kind.attribute("charset"));
    label.is_some_and(|label| {
        Encoding::for_label(label.as_bytes()).is_none()
            && mail_parser::decoders::charsets::map::charset_decoder(label.as_bytes()).is_none()
    })
}

/// White space runs become one space, control characters go; at most `limit` characters.
pub(crate) fn flatten(text: &str, limit: usize) -> String {
    let mut flat = String::with_capacity(text.len().min(limit * 2));
    let mut count = 0;
    let mut is_gap = false;
    for character in text.chars() {
        if character.is_whitespace() || matches!(character, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{34f}') {
            is_gap = count > 0;
            continue;
        }
        if character.is_control() {
            continue;
        }
        if is_gap {
            flat.push(' ');
            count += 1;
            is_gap = false;
        }
        if count >= limit {
            break;
        }
        flat.push(character);
        count += 1;
    }
    flat.truncate(flat.trim_end().len());
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flattening_bounds_characters_not_bytes() {
        assert_eq!(flatten(" 안녕\r\n\t하세요 \0 ", 4), "안녕 하");
        assert_eq!(flatten("a  b", 99), "a b");
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        assert_eq!(cut("안녕", 4), "안");
        assert_eq!(cut("ab", 9), "ab");
    }

    #[test]
    fn text_without_its_closing_boundary_is_read_decoded() {
        let raw = b"From: a@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
            Content-Type: text/plain; charset=euc-kr\r\nContent-Transfer-Encoding: base64\r\n\r\nvsiz58fPvLy/5A==\r\n";
        let prepared = crate::message::prepare(raw);
        let opened = prepared.open();
        assert_eq!(body_text(opened.message.as_ref().expect("it has a header"), 100, false).trim(), "안녕하세요");
        let summary = crate::summary::summarise(raw);
        assert_eq!((summary.preview.as_str(), summary.has_attachment), ("안녕하세요", false));
    }
}
