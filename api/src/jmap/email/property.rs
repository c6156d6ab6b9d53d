//! The properties of an email and of its parts (RFC 8621 section 4.1).

use super::header::HeaderProperty;
use crate::error::MethodError;

/// What has to be read to know a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// The account's view.
    Version,
    /// The facts of the delivery, summary included.
    Facts,
    /// The stored body.
    Body,
}

/// A property of an email, with the name as the client wrote it.
#[derive(Clone, Debug)]
pub enum Property {
    /// In [`METADATA`].
    Metadata(&'static str),
    Headers,
    Header {
        asked: String,
        header: HeaderProperty,
    },
    BodyStructure,
    BodyValues,
    TextBody,
    HtmlBody,
    Attachments,
}

/// Known without the body.
const METADATA: [(&str, Needs); 20] = [
    ("id", Needs::Version),
    ("blobId", Needs::Version),
    ("threadId", Needs::Version),
    ("mailboxIds", Needs::Version),
    ("keywords", Needs::Version),
    ("size", Needs::Version),
    ("receivedAt", Needs::Version),
    ("messageId", Needs::Facts),
    ("inReplyTo", Needs::Facts),
    ("references", Needs::Facts),
    ("sender", Needs::Facts),
    ("from", Needs::Facts),
    ("to", Needs::Facts),
    ("cc", Needs::Facts),
    ("bcc", Needs::Facts),
    ("replyTo", Needs::Facts),
    ("subject", Needs::Facts),
    ("sentAt", Needs::Facts),
    ("hasAttachment", Needs::Facts),
    ("preview", Needs::Facts),
];

impl Property {
    /// # Errors
    /// `invalidArguments` for a property that there is not, and a form that the header field does not have.
    pub fn parse(name: &str) -> Result<Self, MethodError> {
        if let Some((known, _)) = METADATA.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Metadata(known));
        }
        match name {
            "headers" => Ok(Self::Headers),
            "bodyStructure" => Ok(Self::BodyStructure),
            "bodyValues" => Ok(Self::BodyValues),
            "textBody" => Ok(Self::TextBody),
            "htmlBody" => Ok(Self::HtmlBody),
            "attachments" => Ok(Self::Attachments),
            _ => match HeaderProperty::parse(name)? {
                Some(header) => Ok(Self::Header { asked: name.to_owned(), header }),
                None => Err(MethodError::invalid(format!("an email has no property '{name}'"))),
            },
        }
    }

    /// What `Email/get` gives when nothing is asked for (section 4.2).
    pub fn defaults() -> Vec<Self> {
        let metadata = METADATA.iter().map(|(name, _)| Self::Metadata(name));
        metadata.chain([Self::BodyValues, Self::TextBody, Self::HtmlBody, Self::Attachments]).collect()
    }

    pub fn needs(&self) -> Needs {
        match self {
            Self::Metadata(name) => {
                METADATA.iter().find(|(known, _)| known == name).map_or(Needs::Facts, |(_, needs)| *needs)
            }
            _ => Needs::Body,
        }
    }
}

/// A property of a part.
#[derive(Clone, Debug)]
pub enum PartProperty {
    Plain(&'static str),
    Header { asked: String, header: HeaderProperty },
}

const PART_PROPERTIES: [&str; 12] = [
    "partId",
    "blobId",
    "size",
    "headers",
    "name",
    "type",
    "charset",
    "disposition",
    "cid",
    "language",
    "location",
    "subParts",
];

const PART_DEFAULTS: [&str; 10] =
    ["partId", "blobId", "size", "name", "type", "charset", "disposition", "cid", "language", "location"];

impl PartProperty {
    /// # Errors
    /// As [`Property::parse`].
    pub fn parse(name: &str) -> Result<Self, MethodError> {
        if let Some(known) = PART_PROPERTIES.iter().find(|known| **known == name) {
            return Ok(Self::Plain(known));
        }
        match HeaderProperty::parse(name)? {
            Some(header) => Ok(Self::Header { asked: name.to_owned(), header }),
            None => Err(MethodError::invalid(format!("a body part has no property '{name}'"))),
        }
    }

    pub fn defaults() -> Vec<Self> {
        PART_DEFAULTS.iter().map(|name| Self::Plain(name)).collect()
    }
}
