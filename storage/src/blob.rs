//! Message bodies, stored once and referred to by where they are.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;

/// Where a body is: the pack (`<day>/<ulid>.pack`), and offset and length of its entry there, as
/// `pack:offset:length`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BodyRef {
    pub pack: String,
    pub offset: u64,
    pub length: u64,
}

impl fmt::Display for BodyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.pack, self.offset, self.length)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a body reference (pack:offset:length)")]
pub struct BadBodyRef(String);

impl FromStr for BodyRef {
    type Err = BadBodyRef;

    fn from_str(text: &str) -> Result<Self, BadBodyRef> {
        let parse = || {
            let (rest, length) = text.rsplit_once(':')?;
            let (pack, offset) = rest.rsplit_once(':')?;
            is_pack_name(pack).then_some(())?;
            Some(Self { pack: pack.to_owned(), offset: offset.parse().ok()?, length: length.parse().ok()? })
        };
        parse().ok_or_else(|| BadBodyRef(text.to_owned()))
    }
}

/// `2026-11-23/01JDCM….pack`: nothing that could lead out of the folder of packs.
fn is_pack_name(name: &str) -> bool {
    let Some((day, file)) = name.split_once('/') else { return false };
    let Some(ulid) = file.strip_suffix(".pack") else { return false };
    day.len() == 10
        && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        && ulid.len() == 26
        && ulid.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No space, no reach, too much waiting: nothing was stored; try again later (SMTP: 452).
    #[error("bodies cannot be stored now: {0}")]
    Unavailable(String),
    /// There is no such pack or entry.
    #[error("no body at {0}")]
    NotFound(BodyRef),
    /// The entry is cut off, or its checksum is wrong. Never served.
    #[error("the body at {reference} is damaged: {reason}")]
    Damaged { reference: BodyRef, reason: String },
}

/// Stores bodies and reads them back whole or not at all.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Stores a body and returns its reference once it is durable. Many callers share one sync.
    async fn put(&self, body: Bytes) -> Result<BodyRef, BlobError>;

    /// Reads a body back, checked.
    async fn get(&self, reference: &BodyRef) -> Result<Bytes, BlobError>;
}
