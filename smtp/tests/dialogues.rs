//! Every file of `tests/dialogues` is spoken, byte for byte, with a real server.
//!
//! - `C: line` sends a line; lines that follow each other go out in one write (pipelined)
//! - `C+raw: bytes` sends bytes, with `\r`, `\n`, `\\` and `\xNN`, and `{N*text}` for a repetition
//! - `S: start` reads one line of a reply, which begins so; `S*: start` reads a whole reply
//! - `S: <closed>`: the server hangs up
//! - `STORED: n`: so many messages are durable; `CONTENT: bytes`, `TRACE: text`, `RECORD: text`: the last has them
//! - `@option value`, before anything is said: another limit; `# ...`: a remark
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Client, Server, Stored};
use millrace_smtp::ReceptionOptions;
use millrace_storage::embedded::EmbeddedStorage;

struct Dialogue {
    server: Server,
    client: Client,
    unsent: Vec<u8>,
}

#[tokio::test]
async fn every_dialogue_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "the dialogues are not there");
    let (storage, _folder) = common::embedded();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        speak(&storage, &name, &text).await;
    }
}

async fn speak(storage: &EmbeddedStorage, name: &str, text: &str) {
    let mut options = common::options();
    for (key, value) in text.lines().filter_map(|line| line.strip_prefix('@')?.split_once(' ')) {
        set(&mut options, key, value.parse().unwrap());
    }
    let server = Server::start(storage.log.clone(), storage.blobs.clone(), options).await;
    let client = server.client().await;
    let mut dialogue = Dialogue { server, client, unsent: Vec::new() };
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with(['#', '@']) {
            continue;
        }
        let (verb, rest) = line.split_once(": ").or(line.split_once(':')).unwrap();
        dialogue.step(&format!("{name}:{}", number + 1), verb, rest).await;
    }
    drop(dialogue.client);
    dialogue.server.stop().await;
}

fn set(options: &mut ReceptionOptions, key: &str, value: usize) {
    let timeout = Duration::from_millis(value as u64);
    match key {
        "max_message_bytes" => options.max_message_bytes = value,
        "max_recipients" => options.max_recipients = value,
        "max_bad_commands" => options.limits.max_bad_commands = value,
        "max_commands_per_message" => options.limits.max_commands_per_message = value,
        "max_refused_recipients" => options.limits.max_refused_recipients = value,
        "max_drained_bytes" => options.limits.max_drained_bytes = value,
        "command_timeout_ms" => options.timeouts.command = timeout,
        "data_timeout_ms" => options.timeouts.data_block = timeout,
        "session_timeout_ms" => options.timeouts.session = timeout,
        "resolve_timeout_ms" => options.timeouts.resolve = timeout,
        "greeting_delay_ms" => options.greeting_delay = timeout,
        _ => panic!("no option {key}"),
    }
}

impl Dialogue {
    async fn step(&mut self, place: &str, verb: &str, rest: &str) {
        match verb {
            "C" => self.unsent.extend_from_slice(format!("{rest}\r\n").as_bytes()),
            "C+raw" => self.unsent.extend(unescape(rest)),
            _ => {
                let unsent = std::mem::take(&mut self.unsent);
                if !unsent.is_empty() {
                    self.client.send(&unsent).await;
                }
                self.check(place, verb, rest).await;
            }
        }
    }

    async fn check(&mut self, place: &str, verb: &str, rest: &str) {
        match verb {
            "S" => {
                let line = self.client.line().await.unwrap_or_else(|| "<closed>".to_owned());
                assert!(line.starts_with(rest), "{place}: wanted {rest:?}, got {line:?}");
            }
            "S*" => {
                let reply = self.client.reply().await;
                assert!(reply.starts_with(rest), "{place}: wanted {rest:?}, got {reply:?}");
            }
            "STORED" => assert_eq!(self.server.stored().await.len(), rest.parse::<usize>().unwrap(), "{place}"),
            "CONTENT" => assert_eq!(self.last(place).await.content, unescape(rest), "{place}"),
            "TRACE" => {
                let trace = self.last(place).await.trace;
                let wanted = String::from_utf8(unescape(rest)).unwrap();
                assert!(trace.contains(&wanted), "{place}: {wanted:?} is not in {trace:?}");
            }
            "RECORD" => {
                let record = format!("{:?}", self.last(place).await.record);
                assert!(record.contains(rest), "{place}: {rest} is not in {record}");
            }
            _ => panic!("{place}: no step is named {verb}"),
        }
    }

    async fn last(&self, place: &str) -> Stored {
        self.server.stored().await.pop().unwrap_or_else(|| panic!("{place}: nothing was stored"))
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match (c, rest.as_bytes().get(1)) {
            ('\\', Some(b'x')) => {
                bytes.push(u8::from_str_radix(&rest[2..4], 16).unwrap());
                taken = 4;
            }
            ('\\', Some(escaped)) => {
                bytes.push(match escaped {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    other => *other,
                });
                taken = 2;
            }
            ('{', _) => {
                let (inner, _) = rest[1..].split_once('}').unwrap();
                let (times, repeated) = inner.split_once('*').unwrap();
                bytes.extend(unescape(repeated).repeat(times.parse().unwrap()));
                taken = inner.len() + 2;
            }
            _ => bytes.extend_from_slice(c.to_string().as_bytes()),
        }
        rest = &rest[taken..];
    }
    bytes
}
