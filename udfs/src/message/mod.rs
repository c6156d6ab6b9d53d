//! Parsing of a message, bounded: what no parser should see is cut off or decoded before.
//!
//! - [`limits`]: how many parts and how deep
//! - [`charset`]: raw 8-bit headers and text without a usable charset
//! - [`transfer`]: transfer encodings that are not quite right
//! - [`text`]: the text of bodies

pub(crate) mod charset;
pub(crate) mod limits;
pub(crate) mod text;
pub(crate) mod transfer;

use std::borrow::Cow;

use mail_parser::{Message, MessageParser, MessagePart, PartType};

/// A message that was read, whatever state it was in.
pub(crate) struct Opened<'x> {
    /// None when there is not even one header.
    pub message: Option<Message<'x>>,
}

/// What is handed to the parser, and what was wrong with the bytes.
pub(crate) struct Prepared<'x> {
    pub bytes: Cow<'x, [u8]>,
    pub defects: Vec<&'static str>,
}

/// The defect of a message that was not parsed to its end.
pub(crate) const CUT_OFF: &str = "cut-off-too-complex";

/// Makes `raw` safe to parse: within [`limits`], its header fields in UTF-8.
pub(crate) fn prepare(raw: &[u8]) -> Prepared<'_> {
    let mut defects = Vec::new();
    let end = limits::safe_end(raw);
    if end < raw.len() {
        defects.push(CUT_OFF);
    }
    let bytes = match charset::header_in_utf8(&raw[..end]) {
        Some(recoded) => {
            defects.push("header-not-ascii");
            Cow::Owned(recoded)
        }
        None => Cow::Borrowed(&raw[..end]),
    };
    Prepared { bytes, defects }
}

impl<'x> Prepared<'x> {
    pub(crate) fn open(&'x self) -> Opened<'x> {
        Opened { message: MessageParser::default().parse(self.bytes.as_ref()) }
    }
}

/// Calls `visit` for every part that is not a multipart, embedded messages' parts included, in order.
pub(crate) fn for_each_leaf<'a>(message: &'a Message<'a>, visit: &mut dyn FnMut(&'a Message<'a>, &'a MessagePart<'a>)) {
    for part in &message.parts {
        match &part.body {
            PartType::Message(embedded) => for_each_leaf(embedded, visit),
            PartType::Multipart(_) => {}
            _ => visit(message, part),
        }
    }
}
