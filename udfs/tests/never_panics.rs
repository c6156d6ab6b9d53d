//! Whatever bytes come, every function answers, with JSON, in time.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use millrace_udfs::{Dns, Stages, Summary, searchable_text};
use proptest::prelude::*;

static STAGES: LazyLock<Stages> = LazyLock::new(|| common::stages(Dns::Off).0);

static FIXTURES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut found = Vec::new();
    for function in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(function.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "eml") && path.metadata().unwrap().len() < 20_000 {
                found.push((path.clone(), std::fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, raw)| raw).collect()
});

/// Every function on `raw`; none may give an error.
fn call_all(raw: &[u8]) {
    let summary: Summary = serde_json::from_str(&STAGES.summarise(raw)).unwrap();
    assert!(!summary.defects.contains(&"unreadable".to_owned()), "the parser panicked");
    assert!(summary.preview.chars().count() <= 256 && summary.attachments.len() <= 200);
    let text = searchable_text(raw);
    assert!(text.body.len() <= 257 * 1024);
    for json in [STAGES.scan_virus(raw), STAGES.score_spam(raw, "{\"spf\":1}")] {
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(value.get("error").is_none(), "{json}");
    }
}

/// One change of a message: bytes replaced, taken out, repeated, or cut off.
fn mutate(raw: &[u8], at: usize, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let at = at % (raw.len() + 1);
    let end = (at + bytes.len()).min(raw.len());
    match kind % 4 {
        0 => [&raw[..at], bytes, &raw[end..]].concat(),
        1 => [&raw[..at], &raw[end..]].concat(),
        2 => [&raw[..end], &raw[at..]].concat(),
        _ => raw[..at].to_vec(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_get_an_answer(raw in prop::collection::vec(any::<u8>(), 0..2000)) {
        call_all(&raw);
    }

    #[test]
    fn changed_mail_gets_an_answer(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), prop::collection::vec(any::<u8>(), 1..40)), 1..6),
    ) {
        let mut raw = which.get(&FIXTURES).clone();
        for (at, kind, bytes) in changes {
            raw = mutate(&raw, at, kind, &bytes);
        }
        call_all(&raw);
    }
}

/// Shapes that cost a careless parser time, memory or its stack.
#[test]
fn hostile_shapes_are_answered_in_time() {
    let nested = b"Content-Type: message/rfc822\r\n\r\n".repeat(60_000);
    let digests = b"Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n".repeat(40_000);
    let mut parts = b"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n".to_vec();
    parts.extend_from_slice(&b"--\r\n\r\n".repeat(500_000));
    let mut lost = Vec::new();
    for number in 0..20_000 {
        lost.extend_from_slice(format!("Content-Type: multipart/mixed; boundary=z{number}\r\n\r\n").as_bytes());
    }
    let words = [b"Subject: ".to_vec(), b"=?utf-8?B?YQ==?= ".repeat(100_000), b"\r\n\r\n".to_vec()].concat();
    let tags = [b"Content-Type: text/html\r\n\r\n".to_vec(), b"<a ".repeat(700_000)].concat();
    for raw in [nested, digests, parts, lost, words, tags] {
        let start = Instant::now();
        call_all(&raw);
        let name = String::from_utf8_lossy(&raw[..30]).into_owned();
        assert!(start.elapsed() < Duration::from_secs(30), "{name}: {:?}", start.elapsed());
    }
}
