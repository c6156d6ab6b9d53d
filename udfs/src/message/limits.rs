//! How much structure is parsed. The parser keeps one entry per part, walks embedded messages recursively when it
//! drops them, and searches the rest of the message for each boundary, so each is bounded before it starts.

use memchr::memchr;

/// Embedded messages (`message/rfc822`, `message/global`, `multipart/digest`): as deep as they can nest.
const MAX_EMBEDDED: usize = 100;
/// Declared multiparts: each may cost one search through the message.
const MAX_MULTIPARTS: usize = 200;
/// Lines that could be a boundary in a message that has multiparts.
const MAX_BOUNDARIES: usize = 10_000;
/// Bytes of one header section that are read.
const MAX_HEADER_BYTES: usize = 1 << 20;

/// Up to where `raw` may be parsed: all of it for a message that a person or a program meant as mail.
pub(crate) fn safe_end(raw: &[u8]) -> usize {
    let mut counts = Counts::default();
    let mut end = raw.len();
    for line in Lines::new(raw) {
        if !counts.admit(line.bytes) {
            end = line.start;
            break;
        }
    }
    end.min(header_bound(raw))
}

/// The whole message, unless its first header section alone is longer than [`MAX_HEADER_BYTES`].
fn header_bound(raw: &[u8]) -> usize {
    if raw.len() <= MAX_HEADER_BYTES || super::charset::header_end(raw) <= MAX_HEADER_BYTES {
        raw.len()
    } else {
        MAX_HEADER_BYTES
    }
}

#[derive(Default)]
struct Counts {
    embedded: usize,
    multiparts: usize,
    boundaries: usize,
}

impl Counts {
    fn admit(&mut self, line: &[u8]) -> bool {
        if line.starts_with(b"--") {
            self.boundaries += usize::from(self.multiparts > 0);
        } else if let Some(position) = memchr(b'/', line) {
            self.count_types(line, position);
        }
        self.embedded <= MAX_EMBEDDED && self.multiparts <= MAX_MULTIPARTS && self.boundaries <= MAX_BOUNDARIES
    }

    /// Counts media types in a line; a type may stand anywhere in it (folded fields, odd spacing).
    fn count_types(&mut self, line: &[u8], first_slash: usize) {
        let mut slash = first_slash;
        loop {
            let (before, after) = (&line[..slash], trim_start(&line[slash + 1..]));
            let before = trim_end(before);
            if ends_with(before, b"multipart") {
                self.multiparts += 1;
                self.embedded += usize::from(starts_with(after, b"digest"));
            } else if ends_with(before, b"message") {
                self.embedded += usize::from(starts_with(after, b"rfc822") || starts_with(after, b"global"));
            }
            match memchr(b'/', &line[slash + 1..]) {
                Some(next) => slash += 1 + next,
                None => return,
            }
        }
    }
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let skip = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len());
    &bytes[skip..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let keep = bytes.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
    &bytes[..keep]
}

fn starts_with(bytes: &[u8], word: &[u8]) -> bool {
    bytes.len() >= word.len() && bytes[..word.len()].eq_ignore_ascii_case(word)
}

fn ends_with(bytes: &[u8], word: &[u8]) -> bool {
    bytes.len() >= word.len() && bytes[bytes.len() - word.len()..].eq_ignore_ascii_case(word)
}

struct Line<'x> {
    start: usize,
    bytes: &'x [u8],
}

struct Lines<'x> {
    raw: &'x [u8],
    at: usize,
}

impl<'x> Lines<'x> {
    fn new(raw: &'x [u8]) -> Self {
        Self { raw, at: 0 }
    }
}

impl<'x> Iterator for Lines<'x> {
    type Item = Line<'x>;

    fn next(&mut self) -> Option<Line<'x>> {
        let start = self.at;
        let rest = self.raw.get(start..).filter(|rest| !rest.is_empty())?;
        let length = memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
        self.at = start + length;
        Some(Line { start, bytes: &rest[..length] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_mail_is_parsed_whole() {
        let raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b--\r\n";
        assert_eq!(safe_end(raw), raw.len());
    }

    #[test]
    fn nesting_is_cut_off_at_the_limit() {
        let level = b"Content-Type: MESSAGE / rfc822\r\n\r\n";
        let raw = level.repeat(50_000);
        assert_eq!(safe_end(&raw), level.len() * MAX_EMBEDDED);
    }

    #[test]
    fn dashes_count_only_where_there_are_multiparts() {
        let dashes = b"-- \r\n".repeat(MAX_BOUNDARIES * 2);
        assert_eq!(safe_end(&dashes), dashes.len());
        let mut mixed = b"Content-Type: multipart/mixed; boundary=\" \"\r\n\r\n".to_vec();
        mixed.extend_from_slice(&dashes);
        assert!(safe_end(&mixed) < mixed.len());
    }
}
