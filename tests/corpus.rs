//! The whole corpus through the SMTP port: every message in one mailbox or quarantine of its recipient, byte for byte.
//!
//! Run with `just corpus-test`; it wants the release build and the 6,000 messages of `just corpus`.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::jmap::Jmap;
use support::server::Server;
use support::smtp::{Client, canonical};

const ACCOUNTS: usize = 10;
const CONNECTIONS: usize = 20;

fn address(number: usize) -> String {
    format!("user{}@millrace.test", number % ACCOUNTS)
}

#[test]
#[ignore = "wants the corpus: just corpus-test"]
fn every_message_of_the_corpus_is_in_one_place_as_it_was_sent() {
    let messages = Arc::new(support::messages(usize::MAX));
    assert!(messages.len() > 5_000, "fetch the corpus first: just corpus");
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    (0..ACCOUNTS).for_each(|number| server.add_account(&address(number)));

    let start = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (messages, next, smtp) = (messages.clone(), next.clone(), server.smtp);
            std::thread::spawn(move || {
                let mut client = Client::connect(smtp).unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(message) = messages.get(number) else { return };
                    client.send("sender@example.org", &[&address(number)], message).unwrap();
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let report = server.audit(Duration::from_secs(120));
    println!("{} messages in {:?}: {report}", messages.len(), start.elapsed());
    assert_eq!(report["receptions"], messages.len());
    check(&server, &messages);
    server.stop();
}

/// Each distinct message of an account is there once, unless quarantined; the same bytes sent twice are there once.
fn check(server: &Server, messages: &[Vec<u8>]) {
    let quarantined = server.query("SELECT body FROM screened WHERE disposition = 'quarantine'").len();
    let mut missing = 0;
    for account in 0..ACCOUNTS {
        let mut expected: HashMap<Vec<u8>, usize> = HashMap::new();
        for (number, message) in messages.iter().enumerate() {
            if number % ACCOUNTS == account {
                expected.insert(canonical(message), 0);
            }
        }
        let jmap = Jmap::connect(server.http, &address(account));
        let ids = jmap.query(json!({}));
        for email in jmap.emails(&ids, &["blobId"]) {
            let stored = jmap.download(email["blobId"].as_str().unwrap());
            let sent = without_trace(&stored);
            *expected.get_mut(sent).expect("a body that nobody sent") += 1;
        }
        assert!(expected.values().all(|times| *times <= 1), "doubled in account {account}");
        missing += expected.values().filter(|times| **times == 0).count();
    }
    assert_eq!(missing, quarantined, "what is in no mailbox is in quarantine");
}

/// What the client sent: the stored body without the Return-Path and Received that we put before it.
fn without_trace(stored: &[u8]) -> &[u8] {
    let mut rest = stored;
    for header in ["Return-Path:", "Received:"] {
        assert!(rest.starts_with(header.as_bytes()), "{header} first: {}", String::from_utf8_lossy(&rest[..80]));
        loop {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
            rest = &rest[end..];
            if !rest.starts_with(b" ") && !rest.starts_with(b"\t") {
                break;
            }
        }
    }
    rest
}
