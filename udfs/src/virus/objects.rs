//! What is scanned: the raw message, then each decoded part, then what is inside archives.

use mail_parser::{MimeHeaders, PartType};

use super::archive;
use crate::message::{self, for_each_leaf, transfer};

/// Of the raw message: parts are scanned decoded, so this is for what stands outside them.
const MAX_RAW_BYTES: usize = 1 << 20;
/// More than a message may have: what is not scanned to its end is not let through.
const MAX_OBJECT_BYTES: usize = 64 << 20;
/// All objects of a message together.
const MAX_TOTAL_BYTES: usize = 160 << 20;
const MAX_OBJECTS: usize = 500;

/// Bytes to scan, and what rules may know of them.
pub(super) struct Object<'a> {
    pub(super) bytes: &'a [u8],
    /// The attachment's name; empty if it has none.
    pub(super) name: &'a str,
    /// Names inside, one a line, when it is an archive.
    pub(super) entries: &'a str,
}

/// What may still be scanned.
struct Budget {
    bytes: usize,
    objects: usize,
    is_exceeded: bool,
}

impl Budget {
    /// As much of `bytes` as may be scanned.
    fn take<'a>(&mut self, bytes: &'a [u8], limit: usize) -> &'a [u8] {
        let length = bytes.len().min(limit).min(self.bytes);
        if self.objects == 0 || (length == 0 && !bytes.is_empty()) {
            self.is_exceeded = true;
            return &[];
        }
        self.is_exceeded |= length < bytes.len().min(MAX_OBJECT_BYTES) && limit == MAX_OBJECT_BYTES;
        self.is_exceeded |= bytes.len() > MAX_OBJECT_BYTES;
        self.bytes -= length;
        self.objects -= 1;
        &bytes[..length]
    }
}

/// Calls `scan` for each object. Returns whether something was left out for the limits.
pub(super) fn for_each(raw: &[u8], scan: &mut dyn FnMut(&Object<'_>)) -> bool {
    let mut budget = Budget { bytes: MAX_TOTAL_BYTES, objects: MAX_OBJECTS, is_exceeded: false };
    scan(&Object { bytes: budget.take(raw, MAX_RAW_BYTES), name: "", entries: "" });
    let prepared = message::prepare(raw);
    budget.is_exceeded |= prepared.bytes.len() < raw.len() && prepared.defects.contains(&message::CUT_OFF);
    let opened = prepared.open();
    let Some(message) = &opened.message else { return budget.is_exceeded };
    for_each_leaf(message, &mut |message, part| {
        let name = part.attachment_name().unwrap_or_default();
        if let Some(octets) = transfer::undone(message, part) {
            scan_part(&octets, name, &mut budget, scan);
        }
        let bytes = match &part.body {
            PartType::Text(text) | PartType::Html(text) => text.as_bytes(),
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes,
            PartType::Message(_) | PartType::Multipart(_) => return,
        };
        scan_part(bytes, name, &mut budget, scan);
    });
    budget.is_exceeded
}

fn scan_part(bytes: &[u8], name: &str, budget: &mut Budget, scan: &mut dyn FnMut(&Object<'_>)) {
    let bytes = budget.take(bytes, MAX_OBJECT_BYTES);
    let archive = archive::open(bytes);
    scan(&Object { bytes, name, entries: archive.as_ref().map_or("", |archive| &archive.names) });
    for entry in archive.iter().flat_map(|archive| archive.entries()) {
        match entry {
            Ok((name, content)) => {
                let inner = archive::open(&content);
                let entries = inner.as_ref().map_or("", |inner| inner.names.as_str());
                scan(&Object { bytes: budget.take(&content, MAX_OBJECT_BYTES), name, entries });
            }
            Err(archive::TooBig) => budget.is_exceeded = true,
        }
    }
}
