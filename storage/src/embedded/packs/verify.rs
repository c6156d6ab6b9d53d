//! Walks a pack and reports damage.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::packs::entry::{self, ENTRY_HEADER_LEN, ENTRY_MAGIC, EntryHeader, PACK_HEADER_LEN};

/// Bytes looked through at a time for the next entry behind damage.
const SCAN_BYTES: usize = 64 * 1024;

/// What a walk through a pack found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackReport {
    /// Sound entries.
    pub entries: u64,
    /// Bytes of sound bodies.
    pub body_bytes: u64,
    pub damage: Vec<Damage>,
}

/// Something that is not a sound entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub offset: u64,
    pub reason: String,
}

/// The packs below `dir`, as `<day>/<ulid>.pack`, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut packs = Vec::new();
    for day in std::fs::read_dir(dir)? {
        let day = day?;
        if !day.file_type()?.is_dir() {
            continue;
        }
        for pack in std::fs::read_dir(day.path())? {
            let name = pack?.file_name();
            if let (Some(day), Some(pack)) = (day.file_name().to_str(), name.to_str())
                && pack.ends_with(".pack")
            {
                packs.push(format!("{day}/{pack}"));
            }
        }
    }
    packs.sort_unstable();
    Ok(packs)
}

/// Reads every entry. Behind a header that cannot be believed it goes on at the next one that can.
pub(crate) fn verify(path: &Path) -> io::Result<PackReport> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut report = PackReport::default();
    let mut offset = PACK_HEADER_LEN as u64;
    if let Err(reason) = entry::check_pack_header(&read_up_to(&file, 0, PACK_HEADER_LEN)?) {
        report.damage.push(Damage { offset: 0, reason });
    }
    while offset < size {
        let header = EntryHeader::decode(&read_up_to(&file, offset, ENTRY_HEADER_LEN)?);
        let opened = match header {
            Ok(header) => {
                let there = header.stored_len.min(size - offset);
                let stored = read_up_to(&file, offset + ENTRY_HEADER_LEN as u64, usize::try_from(there).unwrap_or(0))?;
                header.open(&stored).map(|body| (header.entry_len(), body.len() as u64))
            }
            Err(reason) => Err(reason),
        };
        match opened {
            Ok((entry_len, body_len)) => {
                report.entries += 1;
                report.body_bytes += body_len;
                offset += entry_len;
            }
            Err(reason) => {
                report.damage.push(Damage { offset, reason });
                offset = next_entry(&file, offset + 1)?.unwrap_or(size);
            }
        }
    }
    Ok(report)
}

/// Where the unfinished entry at the end of a pack begins, by its headers alone.
pub(crate) fn torn_tail(path: &Path) -> io::Result<Option<u64>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut offset = PACK_HEADER_LEN as u64;
    while offset < size {
        let header = EntryHeader::decode(&read_up_to(&file, offset, ENTRY_HEADER_LEN)?);
        match header.ok().and_then(|header| offset.checked_add(header.entry_len())) {
            Some(end) if end <= size => offset = end,
            _ => return Ok(Some(offset)),
        }
    }
    Ok((offset > size).then_some(0))
}

/// The first offset at or after `from` where a sound header is.
fn next_entry(file: &File, from: u64) -> io::Result<Option<u64>> {
    let mut base = from;
    loop {
        // Overlaps, so that a header across the border of two reads is found.
        let bytes = read_up_to(file, base, SCAN_BYTES + ENTRY_HEADER_LEN)?;
        if bytes.len() < ENTRY_HEADER_LEN {
            return Ok(None);
        }
        let candidates = bytes.windows(ENTRY_HEADER_LEN).take(SCAN_BYTES);
        let found = candidates
            .enumerate()
            .find(|(_, window)| window.starts_with(ENTRY_MAGIC) && EntryHeader::decode(window).is_ok());
        if let Some((at, _)) = found {
            return Ok(Some(base + at as u64));
        }
        base += SCAN_BYTES as u64;
    }
}

/// Fewer bytes only at the end of the file.
fn read_up_to(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
