//! What end-to-end tests share: a real `millrace` process, an SMTP client and a JMAP client that show every byte.

#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

pub mod jmap;
pub mod server;
pub mod smtp;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Messages to send: the corpus where it was fetched (`just corpus`), else the sample in the repository.
pub fn messages(most: usize) -> Vec<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let corpus = root.join("corpus/package/data");
    let folder = if corpus.is_dir() { corpus } else { root.join("tests/corpus-sample") };
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no messages below {}", folder.display());
    files.into_iter().take(most).map(|file| without_from_line(std::fs::read(file).unwrap())).collect()
}

/// Files of the corpus begin with the line that an mbox has before each message.
fn without_from_line(raw: Vec<u8>) -> Vec<u8> {
    match raw.iter().position(|byte| *byte == b'\n') {
        Some(end) if raw.starts_with(b"From ") => raw[end + 1..].to_vec(),
        _ => raw,
    }
}

fn collect(folder: &std::path::Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|e| e.to_str()) {
            _ if path.is_dir() => collect(&path, files),
            Some("txt" | "eml") => files.push(path),
            _ => {}
        }
    }
}

/// Calls `check` until it gives a value, for at most `limit`.
pub fn eventually<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
