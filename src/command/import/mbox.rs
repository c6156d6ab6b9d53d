//! mbox files (RFC 4155, with the `>From` quoting of mboxrd), read as a stream.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;

use super::{Found, Messages};

/// A single message above this is refused, so that a file that is no mbox cannot fill the memory.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

pub fn is_mbox(path: &Path) -> anyhow::Result<bool> {
    let mut start = [0; 5];
    let mut file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(file.read_exact(&mut start).is_ok() && &start == b"From ")
}

pub fn open(path: &Path) -> anyhow::Result<(u64, Messages)> {
    let total = Reader::new(path)?.count() as u64;
    Ok((total, Box::new(Reader::new(path)?)))
}

struct Reader {
    lines: BufReader<File>,
    name: String,
    messages: u64,
    is_done: bool,
}

impl Reader {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut lines = BufReader::with_capacity(1 << 16, file);
        let mut first = Vec::new();
        lines.read_until(b'\n', &mut first)?;
        Ok(Self { lines, name: path.display().to_string(), messages: 0, is_done: false })
    }

    /// The lines up to the next `From ` line.
    fn message(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut raw = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = self.lines.read_until(b'\n', &mut line).with_context(|| format!("reading {}", self.name))?;
            if read == 0 {
                self.is_done = true;
                return Ok(raw);
            }
            let is_after_blank = raw.is_empty() || raw.ends_with(b"\n\n") || raw.ends_with(b"\r\n\r\n");
            if is_after_blank && is_from_line(&line) {
                return Ok(raw);
            }
            let quotes = line.iter().take_while(|byte| **byte == b'>').count();
            let quoted = quotes > 0 && line[quotes..].starts_with(b"From ");
            raw.extend_from_slice(if quoted { &line[1..] } else { &line });
            anyhow::ensure!(raw.len() <= MAX_MESSAGE_BYTES, "{} has a message of over 256 MiB", self.name);
        }
    }
}

impl Iterator for Reader {
    type Item = anyhow::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            match self.message() {
                Ok(raw) if raw.is_empty() => {}
                Ok(raw) => {
                    self.messages += 1;
                    return Some(Ok(found(raw, format!("message {} of {}", self.messages, self.name))));
                }
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Whether a line separates messages: `From `, an address, and a date with a time of day (RFC 4155). A sentence that
/// begins with From is none.
fn is_from_line(line: &[u8]) -> bool {
    let is_time = |word: &[u8]| word.len() >= 4 && word[0].is_ascii_digit() && word.contains(&b':');
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    line.starts_with(b"From ") && words.skip(2).any(is_time)
}

/// Cuts the blank line before the next `From ` off, and reads `Status:` as mail programs leave it.
fn found(mut raw: Vec<u8>, name: String) -> Found {
    if raw.ends_with(b"\r\n\r\n") {
        raw.truncate(raw.len() - 2);
    } else if raw.ends_with(b"\n\n") {
        raw.truncate(raw.len() - 1);
    }
    let headers = raw.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty() && *line != b"\r");
    let is_seen = headers
        .into_iter()
        .any(|line| line.len() > 7 && line[..7].eq_ignore_ascii_case(b"status:") && line[7..].contains(&b'R'));
    Found { name, raw, received_at_us: None, keywords: if is_seen { vec!["$seen"] } else { Vec::new() } }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_are_cut_at_from_lines_and_unquoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box");
        let text = "From a@x Mon Nov 23 10:00:00 2026\nSubject: 1\nStatus: RO\n\n>From here\n>>From there\n\nFrom b@x Mon Nov 23 10:00:01 2026\nSubject: 2\n\nFrom me\n";
        std::fs::write(&path, text).unwrap();
        assert!(is_mbox(&path).unwrap());
        let (total, messages) = open(&path).unwrap();
        let messages: Vec<Found> = messages.map(Result::unwrap).collect();
        assert_eq!(total, 2);
        assert_eq!(messages[0].raw, b"Subject: 1\nStatus: RO\n\nFrom here\n>From there\n");
        assert_eq!(messages[0].keywords, ["$seen"]);
        assert_eq!(messages[1].raw, b"Subject: 2\n\nFrom me\n", "a From line inside a paragraph is text");
    }
}
