//! Packs, wherever they are kept: their format ([`entry`]) and their names.

use bytes::Bytes;

use crate::blob::{BlobError, BodyRef};

pub mod entry;

use entry::{ENTRY_HEADER_LEN, EntryHeader};

/// The name of a new pack, `<day>/<ulid>.pack`; no other process makes the same.
pub(crate) fn new_name() -> String {
    format!("{}/{}.pack", chrono::Utc::now().format("%Y-%m-%d"), ulid::Ulid::new())
}

/// The body of an entry that was read from where `reference` says: whole and sound, or damaged.
pub(crate) fn open_entry(reference: &BodyRef, bytes: &[u8]) -> Result<Bytes, BlobError> {
    let opened = EntryHeader::decode(bytes).and_then(|header| header.open(&bytes[ENTRY_HEADER_LEN..]));
    opened.map_err(|reason| BlobError::Damaged { reference: reference.clone(), reason })
}

/// Whether the name may be one of ours. It may come from outside, and must not lead anywhere else.
pub(crate) fn is_name(reference: &BodyRef) -> bool {
    reference.to_string().parse::<BodyRef>().is_ok()
}
