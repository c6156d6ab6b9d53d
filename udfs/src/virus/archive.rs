//! ZIP archives (APPNOTE 6.3): names by the central directory, contents of small entries. What is encrypted or
//! packed by a rarer method is known by name only.

use miniz_oxide::inflate::decompress_to_vec_with_limit;

const MAX_ENTRIES: usize = 1000;
/// Entries whose contents are looked at, and how much of each.
const MAX_OPENED: usize = 50;
const MAX_ENTRY_BYTES: usize = 4 << 20;
const MAX_INFLATED_BYTES: usize = 24 << 20;

const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// An archive's directory.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    /// One a line.
    pub(super) names: String,
    entries: Vec<Entry>,
}

/// The entry inflates to more than is looked at.
pub(super) struct TooBig;

struct Entry {
    name: String,
    method: u16,
    is_encrypted: bool,
    packed_bytes: usize,
    header_at: usize,
}

/// The directory of a ZIP archive; None for anything else.
pub(super) fn open(bytes: &[u8]) -> Option<Archive<'_>> {
    bytes.starts_with(LOCAL_HEADER).then_some(())?;
    // The end record is last but for a comment of at most 64 KB.
    let tail = bytes.len().saturating_sub(22 + 65_535);
    let end = tail + bytes[tail..].windows(4).rposition(|window| window == END_OF_DIRECTORY)?;
    let mut at = u32_at(bytes, end + 16)?;
    let mut archive = Archive { bytes, names: String::new(), entries: Vec::new() };
    while archive.entries.len() < MAX_ENTRIES && bytes.get(at..at + 4) == Some(DIRECTORY_ENTRY) {
        let lengths = [28, 30, 32].map(|offset| u16_at(bytes, at + offset).map_or(0, usize::from));
        let name = bytes.get(at + 46..at + 46 + lengths[0])?;
        let entry = Entry {
            name: String::from_utf8_lossy(name).into_owned(),
            method: u16_at(bytes, at + 10)?,
            is_encrypted: u16_at(bytes, at + 8)? & 1 == 1,
            packed_bytes: u32_at(bytes, at + 20)?,
            header_at: u32_at(bytes, at + 42)?,
        };
        archive.names.push_str(&entry.name);
        archive.names.push('\n');
        archive.entries.push(entry);
        at += 46 + lengths.iter().sum::<usize>();
    }
    Some(archive)
}

impl Archive<'_> {
    /// Names and contents of the entries that can be opened.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<(&str, Vec<u8>), TooBig>> {
        let mut left = MAX_INFLATED_BYTES;
        self.entries.iter().filter(|entry| !entry.is_encrypted).take(MAX_OPENED).filter_map(move |entry| {
            match self.content(entry, left.min(MAX_ENTRY_BYTES))? {
                Ok(content) => {
                    left -= content.len();
                    Some(Ok((entry.name.as_str(), content)))
                }
                Err(TooBig) => Some(Err(TooBig)),
            }
        })
    }

    fn content(&self, entry: &Entry, limit: usize) -> Option<Result<Vec<u8>, TooBig>> {
        let header = entry.header_at;
        (self.bytes.get(header..header + 4)? == LOCAL_HEADER).then_some(())?;
        let lengths = usize::from(u16_at(self.bytes, header + 26)?) + usize::from(u16_at(self.bytes, header + 28)?);
        let start = header + 30 + lengths;
        let packed = self.bytes.get(start..start.checked_add(entry.packed_bytes)?)?;
        match entry.method {
            STORED if packed.len() > limit => Some(Err(TooBig)),
            STORED => Some(Ok(packed.to_vec())),
            DEFLATED => match decompress_to_vec_with_limit(packed, limit) {
                Ok(content) => Some(Ok(content)),
                Err(error) if error.status == miniz_oxide::inflate::TINFLStatus::HasMoreOutput => Some(Err(TooBig)),
                Err(_) => None,
            },
            _ => None,
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let value = u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?);
    usize::try_from(value).ok()
}
