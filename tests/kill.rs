//! `kill -9` at random moments while mail flows: what was answered with 250 is there once, byte for byte.
//!
//! `MILLRACE_KILLS` sets how often (100 without it), `MILLRACE_SEED` repeats a run; a failing run prints its seed.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use support::eventually;
use support::jmap::Jmap;
use support::server::Server;
use support::smtp::{Client, canonical};

const ACCOUNTS: usize = 4;
const SENDERS: usize = 4;
/// Between two messages of a sender, so that what was sent can be checked in the time that a test may take.
const PAUSE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 30 } else { 3 });

/// Message numbers to send: those whose 250 was not seen first, then new ones.
struct Queue {
    again: Vec<usize>,
    next: usize,
    last: usize,
}

impl Queue {
    fn take(&mut self) -> Option<usize> {
        self.again.pop().or_else(|| {
            (self.next < self.last).then(|| {
                self.next += 1;
                self.next - 1
            })
        })
    }
}

struct Mail {
    messages: Vec<Vec<u8>>,
    queue: Mutex<Queue>,
}

impl Mail {
    fn raw(&self, number: usize) -> Vec<u8> {
        let message = &self.messages[number % self.messages.len()];
        canonical(&[format!("X-Number: {number}\n").as_bytes(), message].concat())
    }

    /// Sends until there is nothing to send, the server is gone, or `stop`.
    fn send(&self, smtp: SocketAddr, stop: &AtomicBool) {
        let Ok(mut client) = Client::connect(smtp) else { return };
        while !stop.load(Ordering::Relaxed) {
            let Some(number) = self.queue.lock().unwrap().take() else { return };
            if client.send("sender@example.org", &[&address(number)], &self.raw(number)).is_err() {
                self.queue.lock().unwrap().again.push(number);
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn address(number: usize) -> String {
    format!("user{}@millrace.test", number % ACCOUNTS)
}

fn send_until(mail: &Arc<Mail>, server: &Server, wait: impl FnOnce()) -> Vec<std::thread::JoinHandle<()>> {
    let stop = Arc::new(AtomicBool::new(false));
    let smtp = server.smtp;
    let senders = (0..SENDERS).map(|_| {
        let (mail, stop) = (mail.clone(), stop.clone());
        std::thread::spawn(move || mail.send(smtp, &stop))
    });
    let senders = senders.collect();
    wait();
    senders
}

#[test]
fn kill_nine_loses_nothing_and_doubles_nothing() {
    let kills: usize = std::env::var("MILLRACE_KILLS").map_or(100, |kills| kills.parse().unwrap());
    let seed: u64 = std::env::var("MILLRACE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("MILLRACE_SEED={seed} MILLRACE_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let data = tempfile::tempdir().unwrap();
    let queue = Mutex::new(Queue { again: Vec::new(), next: 0, last: usize::MAX });
    let mail = Arc::new(Mail { messages: support::messages(6000), queue });
    let server = Server::start(data.path());
    (0..ACCOUNTS).for_each(|n| server.add_account(&address(n)));
    server.kill();

    for _ in 0..kills {
        let server = Server::start(data.path());
        // Many early deaths, while the last one is being recovered from, and some late ones, around commits.
        let millis = if random.random_bool(0.3) { random.random_range(0..40) } else { random.random_range(40..1300) };
        let senders = send_until(&mail, &server, || std::thread::sleep(Duration::from_millis(millis)));
        server.kill();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }

    let sent = {
        let mut queue = mail.queue.lock().unwrap();
        queue.last = queue.next;
        queue.next
    };
    let server = Server::start(data.path());
    let senders = send_until(&mail, &server, || {});
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert!(mail.queue.lock().unwrap().take().is_none(), "everything was answered with 250 in the end");
    println!("{sent} messages sent across {kills} kills");
    assert!(sent > kills, "too few messages for the test to mean anything");
    let report = server.audit(Duration::from_secs(300));
    println!("{report}");
    check(&server, &mail, sent);
    server.stop();
}

/// Every message is in its account once, and comes back as it was sent.
fn check(server: &Server, mail: &Mail, sent: usize) {
    let mut seen: HashMap<usize, usize> = HashMap::new();
    for account in 0..ACCOUNTS {
        let jmap = Jmap::connect(server.http, &address(account));
        let expected = (0..sent).filter(|number| number % ACCOUNTS == account).count();
        let ids = eventually(Duration::from_secs(30), "all mail is listed", || {
            let ids = jmap.query(json!({}));
            (ids.len() >= expected).then_some(ids)
        });
        for email in jmap.emails(&ids, &["blobId", "header:X-Number:asText"]) {
            let number: usize = email["header:X-Number:asText"].as_str().unwrap().trim().parse().unwrap();
            assert_eq!(number % ACCOUNTS, account, "mail for another account");
            *seen.entry(number).or_default() += 1;
            let body = jmap.download(email["blobId"].as_str().unwrap());
            assert!(body.ends_with(&mail.raw(number)), "message {number} came back different");
        }
    }
    let doubled: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    let missing: Vec<_> = (0..sent).filter(|number| !seen.contains_key(number)).collect();
    assert!(doubled.is_empty() && missing.is_empty(), "doubled {doubled:?}, missing {missing:?}");
}
