//! Attachments: parts that are not the text that a reader sees.

use mail_parser::{Message, MessagePart, MimeHeaders, PartType};
use serde::{Deserialize, Serialize};

use crate::message::text::{flatten, is_declared_multipart, is_misplaced_text};

const MAX_ATTACHMENTS: usize = 200;
const MAX_NAME_CHARS: usize = 255;
const MAX_TYPE_CHARS: usize = 127;

/// One attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SummaryAttachment {
    /// As the sender named it (RFC 2047 and RFC 2231 decoded); never a path to write to.
    pub name: Option<String>,
    /// Media type, lower case.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Decoded size in bytes.
    pub size: u64,
}

pub(super) fn list(message: &Message<'_>) -> Vec<SummaryAttachment> {
    attached(message).take(MAX_ATTACHMENTS).map(|part| describe(message, part)).collect()
}

/// Pictures shown within the text do not count.
pub(super) fn has_any(message: &Message<'_>) -> bool {
    attached(message).any(|part| {
        let disposition = part.content_disposition();
        disposition.is_some_and(|value| value.is_attachment())
            || (part.content_id().is_none() && !disposition.is_some_and(|value| value.is_inline()))
    })
}

/// What the parser puts aside, but for a multipart without parts, which is the message itself, and text that it could
/// not decode.
fn attached<'a>(message: &'a Message<'a>) -> impl Iterator<Item = &'a MessagePart<'a>> {
    let is_whole = |part: &MessagePart<'_>| is_declared_multipart(part) && !matches!(part.body, PartType::Multipart(_));
    message.attachments().filter(move |part| !is_whole(part) && !is_misplaced_text(part))
}

fn describe(message: &Message<'_>, part: &MessagePart<'_>) -> SummaryAttachment {
    let name = part.attachment_name().map(|name| flatten(name, MAX_NAME_CHARS)).filter(|name| !name.is_empty());
    SummaryAttachment { name, media_type: media_type(part), size: size(message, part) as u64 }
}

pub(crate) fn media_type(part: &MessagePart<'_>) -> String {
    let kind = part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("")));
    let kind = kind.unwrap_or_else(|| default_type(part).to_owned());
    flatten(&kind, MAX_TYPE_CHARS).to_ascii_lowercase()
}

fn default_type(part: &MessagePart<'_>) -> &'static str {
    match part.body {
        PartType::Message(_) => "message/rfc822",
        PartType::Text(_) | PartType::Html(_) => "text/plain",
        _ => "application/octet-stream",
    }
}

fn size(message: &Message<'_>, part: &MessagePart<'_>) -> usize {
    match &part.body {
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes.len(),
        PartType::Text(text) | PartType::Html(text) => text.len(),
        PartType::Message(_) | PartType::Multipart(_) => {
            let end = (part.offset_end as usize).min(message.raw_message.len());
            end.saturating_sub(part.offset_body as usize)
        }
    }
}
