//! The tree of parts of a message.

use std::borrow::Cow;

use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};

use super::fields::{self, Field, line_end, trim_line_end};

/// Multiparts below this depth are leaves.
const MAX_DEPTH: usize = 24;
/// Parts beyond this many stay inside the last.
const MAX_PARTS: usize = 1_000;

/// A part of a message.
#[derive(Debug)]
pub struct Part<'a> {
    /// Number among the leaves, from 1; `None` for a multipart.
    pub id: Option<u32>,
    pub fields: Vec<Field<'a>>,
    /// As stored, transfer encoding and all.
    pub body: &'a [u8],
    /// Lower case, without parameters.
    pub media_type: String,
    pub charset: Option<String>,
    /// Lower case, without parameters.
    pub disposition: Option<String>,
    pub name: Option<String>,
    pub parts: Vec<Part<'a>>,
}

impl<'a> Part<'a> {
    /// Reads a whole message.
    pub fn parse(message: &'a [u8]) -> Self {
        Reader { leaves: 0, parts: 1 }.part(message, "text/plain", 0)
    }

    pub fn is_multipart(&self) -> bool {
        self.id.is_none()
    }

    pub fn is_text(&self) -> bool {
        self.media_type.starts_with("text/")
    }

    /// What would be shown in place, if it is not an attachment.
    pub fn is_inline_media(&self) -> bool {
        ["image/", "audio/", "video/"].iter().any(|kind| self.media_type.starts_with(kind))
    }

    /// The last field of this name.
    pub fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().rev().find(|field| field.is(name))
    }

    /// All leaves below and including this part, depth first.
    pub fn leaves(&self) -> Vec<&Part<'a>> {
        match self.id {
            Some(_) => vec![self],
            None => self.parts.iter().flat_map(Part::leaves).collect(),
        }
    }

    pub fn leaf(&self, id: u32) -> Option<&Part<'a>> {
        match self.id {
            Some(own) => (own == id).then_some(self),
            None => self.parts.iter().find_map(|part| part.leaf(id)),
        }
    }
}

struct Reader {
    leaves: u32,
    parts: usize,
}

impl Reader {
    fn part<'a>(&mut self, entity: &'a [u8], default_type: &str, depth: usize) -> Part<'a> {
        let (fields, body) = fields::split(entity);
        let content_type = structured(&fields, "Content-Type");
        let disposition = structured(&fields, "Content-Disposition");
        let declared = content_type.as_ref().and_then(media_type);
        let media_type = declared.clone().unwrap_or_else(|| default_type.to_owned());
        let boundary = content_type.as_ref().and_then(|value| attribute(value, "boundary"));
        let name = disposition
            .as_ref()
            .and_then(|value| attribute(value, "filename"))
            .or_else(|| content_type.as_ref().and_then(|value| attribute(value, "name")));
        let charset = match content_type.as_ref().filter(|_| declared.is_some()) {
            Some(value) if media_type.starts_with("text/") => {
                Some(attribute(value, "charset").unwrap_or_else(|| "us-ascii".to_owned()))
            }
            Some(_) => None,
            None => Some("us-ascii".to_owned()),
        };
        let disposition = disposition.map(|value| value.c_type.to_ascii_lowercase());
        let mut part = Part { id: None, fields, body, media_type, charset, disposition, name, parts: Vec::new() };
        if part.media_type.starts_with("multipart/") {
            match boundary.filter(|_| depth < MAX_DEPTH) {
                Some(boundary) => self.children(&mut part, &boundary, depth),
                None => part.media_type = "text/plain".to_owned(),
            }
        }
        if part.parts.is_empty() && !part.media_type.starts_with("multipart/") {
            self.leaves += 1;
            part.id = Some(self.leaves);
        }
        part
    }

    /// Reads the children of a multipart. One without any part becomes text, so that its content can be seen.
    fn children(&mut self, part: &mut Part<'_>, boundary: &str, depth: usize) {
        let default_type = if part.media_type == "multipart/digest" { "message/rfc822" } else { "text/plain" };
        for entity in split_multipart(part.body, boundary.as_bytes(), MAX_PARTS.saturating_sub(self.parts)) {
            self.parts += 1;
            let child = self.part(entity, default_type, depth + 1);
            part.parts.push(child);
        }
        if part.parts.is_empty() {
            part.media_type = "text/plain".to_owned();
        }
    }
}

/// The entities between the delimiter lines of a multipart (RFC 2046 section 5.1.1). The line end before a delimiter
/// belongs to it. A missing last delimiter ends the last entity where the body ends.
fn split_multipart<'a>(body: &'a [u8], boundary: &[u8], most: usize) -> Vec<&'a [u8]> {
    let mut entities = Vec::new();
    let mut begin = None;
    let mut at = 0;
    while at < body.len() {
        let end = line_end(body, at);
        if let Some(is_last) = delimiter(&body[at..end], boundary) {
            if let Some(begin) = begin {
                if entities.len() + 1 >= most && !is_last {
                    at = end;
                    continue;
                }
                entities.push(trim_line_end(&body[begin..at.max(begin)]));
            }
            begin = (!is_last).then_some(end);
            if is_last {
                return entities;
            }
        }
        at = end;
    }
    if let Some(begin) = begin.filter(|begin| *begin < body.len()) {
        entities.push(&body[begin..]);
    }
    entities
}

/// Whether a line is a delimiter, and if so whether the closing one.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?.trim_ascii_end();
    match rest {
        b"" => Some(false),
        [b'-', b'-', ..] => Some(true),
        _ => None,
    }
}

fn structured(fields: &[Field<'_>], name: &str) -> Option<ContentType<'static>> {
    let field = fields.iter().rev().find(|field| field.is(name))?;
    match parse_value(field.value, |stream| stream.parse_content_type()) {
        HeaderValue::ContentType(value) => Some(value),
        _ => None,
    }
}

/// Runs one of `mail-parser`'s field parsers, which want the line end.
pub(crate) fn parse_value(
    value: &[u8],
    parse: impl for<'x> FnOnce(&mut MessageStream<'x>) -> HeaderValue<'x>,
) -> HeaderValue<'static> {
    let mut line = Vec::with_capacity(value.len() + 2);
    line.extend_from_slice(value);
    line.extend_from_slice(b"\r\n");
    parse(&mut MessageStream::new(&line)).into_owned()
}

fn media_type(value: &ContentType<'_>) -> Option<String> {
    let subtype = value.c_subtype.as_deref().filter(|subtype| !subtype.is_empty())?;
    Some(format!("{}/{subtype}", value.c_type).to_ascii_lowercase())
}

fn attribute(value: &ContentType<'_>, name: &str) -> Option<String> {
    let found = value.attributes.as_ref()?.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))?;
    Some(decode_words(&found.value)).filter(|text| !text.is_empty())
}

/// Parameters must not hold encoded words (RFC 2047 section 5), yet many senders write file names so.
fn decode_words(text: &str) -> String {
    if !text.contains("=?") {
        return text.to_owned();
    }
    match parse_value(text.as_bytes(), |stream| stream.parse_unstructured()) {
        HeaderValue::Text(Cow::Owned(text)) => text,
        HeaderValue::Text(Cow::Borrowed(text)) => text.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &[u8] = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=\"o\"\r\n\r\npreamble\r\n--o\r\n\r\nplain\r\n\
        --o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\nContent-Type: text/html; charset=UTF-8\r\n\r\n\
        <p>\r\n--i--\r\n--o\r\nContent-Type: application/PDF; name=\"=?utf-8?B?6rCA?=.pdf\"\r\nContent-Disposition: Attachment\r\n\r\n\
        pdf\r\n--o--\r\nepilogue\r\n";

    #[test]
    fn nested_multiparts_give_a_tree_whose_leaves_are_numbered() {
        let root = Part::parse(NESTED);
        assert_eq!((root.id, root.media_type.as_str(), root.parts.len()), (None, "multipart/mixed", 3));
        let leaves = root.leaves();
        let types: Vec<_> = leaves.iter().map(|part| (part.id, part.media_type.as_str(), part.body)).collect();
        assert_eq!(
            types,
            [
                (Some(1), "text/plain", &b"plain"[..]),
                (Some(2), "text/html", b"<p>"),
                (Some(3), "application/pdf", b"pdf")
            ]
        );
        assert_eq!(leaves[0].charset.as_deref(), Some("us-ascii"));
        assert_eq!(leaves[1].charset.as_deref(), Some("UTF-8"));
        assert_eq!(leaves[2].charset, None);
        assert_eq!(leaves[2].name.as_deref(), Some("가.pdf"));
        assert_eq!(leaves[2].disposition.as_deref(), Some("attachment"));
        assert_eq!(root.leaf(2).map(|part| part.body), Some(&b"<p>"[..]));
    }

    #[test]
    fn a_cut_off_multipart_keeps_what_there_is() {
        for end in 0..NESTED.len() {
            let root = Part::parse(&NESTED[..end]);
            assert!(!root.leaves().is_empty(), "cut at {end}");
        }
    }

    #[test]
    fn deep_and_wide_messages_stay_bounded() {
        let mut deep = Vec::new();
        for level in 0..10_000 {
            deep.extend_from_slice(
                format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n").as_bytes(),
            );
        }
        assert_eq!(Part::parse(&deep).leaves().len(), 1);
        let wide = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(5_000));
        let leaves = Part::parse(wide.as_bytes()).leaves().len();
        assert!((MAX_PARTS - 2..=MAX_PARTS).contains(&leaves), "{leaves}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_structure(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), at in 0usize..400) {
            let mut message = NESTED.to_vec();
            message.splice(at.min(NESTED.len())..at.min(NESTED.len()), bytes.iter().copied());
            for part in Part::parse(&message).leaves().into_iter().chain(Part::parse(&bytes).leaves()) {
                let _ = crate::mime::decode::text(part, 10);
            }
        }
    }

    #[test]
    fn a_digest_holds_messages_and_an_attached_message_is_a_leaf() {
        let root = Part::parse(b"Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: inner\n\nhi\n--d--\n");
        assert_eq!(root.parts[0].media_type, "message/rfc822");
        assert_eq!(root.parts[0].body, b"Subject: inner\n\nhi");
        assert!(root.parts[0].parts.is_empty());
    }
}
