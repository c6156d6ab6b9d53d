//! Mail end to end: from SMTP until it is in its mailbox, and how long after its 250 it is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use crate::jmap::Jmap;
use crate::peer::ACCOUNTS;
use crate::smtp::Smtp;

pub const CONNECTIONS: usize = 50;
/// A marked message is followed to the mailbox this often while mail flows.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Probes before the load begins.
const IDLE_PROBES: usize = 20;

/// Where mail is sent to and read.
#[derive(Clone)]
pub struct Target {
    pub smtp: Vec<SocketAddr>,
    pub http: Vec<SocketAddr>,
}

/// What a run showed; rates in messages a second.
pub struct Figures {
    pub visible: usize,
    pub accepted: f64,
    pub delivered: f64,
    pub searchable: f64,
    /// Without and with the load.
    pub idle: Latencies,
    pub loaded: Latencies,
}

/// From the 250 of a message until it is in the list, and until a search for a word of its text finds it.
#[derive(Default)]
pub struct Latencies {
    pub listed: Vec<Duration>,
    pub found: Vec<Duration>,
}

/// Sends the messages over [`CONNECTIONS`] connections to an account, and follows others meanwhile.
pub fn measure(target: &Target, messages: Vec<Vec<u8>>) -> anyhow::Result<Figures> {
    let messages = Arc::new(messages);
    let http = *target.http.first().context("no HTTP address")?;
    let smtp = *target.smtp.first().context("no SMTP address")?;
    let jmap = Jmap::connect(http, "user@millrace.test")?;
    let mut prober = Prober { jmap: Jmap::connect(http, "probe@millrace.test")?, smtp: Smtp::connect(smtp)?, sent: 0 };
    let (before, mut idle) = (jmap.held()?, Latencies::default());
    for _ in 0..IDLE_PROBES {
        prober.probe(&mut idle)?;
    }
    let start = Instant::now();
    let done = Arc::new(AtomicBool::new(false));
    let probing = std::thread::spawn({
        let done = done.clone();
        move || prober.probe_until(&done)
    });
    send_all(&target.smtp, &Arc::new(vec![ACCOUNTS[0].to_owned()]), &messages)?;
    let accepted = start.elapsed();
    let (visible, delivered) = wait_for(&jmap, before, messages.len())?;
    let searchable = wait_until_searchable(&jmap, smtp)?;
    done.store(true, Ordering::Relaxed);
    let loaded = probing.join().map_err(|_| anyhow::anyhow!("the probe failed"))??;
    let rate = |time: Duration| messages.len() as f64 / time.as_secs_f64();
    Ok(Figures {
        visible,
        accepted: rate(accepted),
        delivered: rate(delivered.duration_since(start)),
        searchable: rate(searchable.duration_since(start)),
        idle,
        loaded,
    })
}

pub fn quantile(latencies: &[Duration], quantile: f64) -> Duration {
    let mut latencies = latencies.to_vec();
    latencies.sort();
    latencies.get(((latencies.len().max(1) - 1) as f64 * quantile) as usize).copied().unwrap_or_default()
}

/// Sends all to one recipient after the other, over connections to each of the addresses in turn.
pub fn send_all(
    smtp: &[SocketAddr],
    recipients: &Arc<Vec<String>>,
    messages: &Arc<Vec<Vec<u8>>>,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = smtp
        .iter()
        .cycle()
        .take(CONNECTIONS)
        .map(|smtp| {
            let (next, recipients, messages, smtp) = (next.clone(), recipients.clone(), messages.clone(), *smtp);
            std::thread::spawn(move || -> anyhow::Result<()> {
                let mut client = Smtp::connect(smtp)?;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(message) = messages.get(number) else { return Ok(()) };
                    client.send(&recipients[number % recipients.len()], message)?;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().map_err(|_| anyhow::anyhow!("a sender failed"))??;
    }
    Ok(())
}

/// Waits until no more emails come, and says how many came and when the last one did.
fn wait_for(jmap: &Jmap, before: usize, sent: usize) -> anyhow::Result<(usize, Instant)> {
    let mut last = (0, Instant::now());
    loop {
        let total = jmap.held()? - before;
        if total != last.0 {
            last = (total, Instant::now());
        }
        // Quarantined and duplicate messages never show: no change for some seconds is the end.
        if total == sent || (total > sent * 9 / 10 && last.1.elapsed() > Duration::from_secs(5)) {
            return Ok(last);
        }
        anyhow::ensure!(last.1.elapsed() < Duration::from_secs(60), "stuck at {total} of {sent} emails");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends one more message to the account: since its changes are indexed in their order, all others are found when this
/// one is. Says when that was.
fn wait_until_searchable(jmap: &Jmap, smtp: SocketAddr) -> anyhow::Result<Instant> {
    let mut client = Smtp::connect(smtp)?;
    client.send("user@millrace.test", b"From: last@example.org\nSubject: last\n\nThis is lastbenchword.\n")?;
    let sent = Instant::now();
    while jmap.total(json!({ "text": "lastbenchword" }))? == 0 {
        anyhow::ensure!(sent.elapsed() < Duration::from_secs(120), "the last message is not found");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Instant::now())
}

/// Sends messages to an account of its own, one by one.
struct Prober {
    jmap: Jmap,
    smtp: Smtp,
    sent: usize,
}

impl Prober {
    fn probe_until(&mut self, done: &AtomicBool) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::default();
        while !done.load(Ordering::Relaxed) {
            self.probe(&mut latencies)?;
        }
        Ok(latencies)
    }

    fn probe(&mut self, latencies: &mut Latencies) -> anyhow::Result<()> {
        let word = format!("probe{}word", self.sent);
        let raw = format!("From: probe@example.org\nSubject: probe\n\nThis is {word}.\n");
        self.smtp.send("probe@millrace.test", raw.as_bytes())?;
        self.sent += 1;
        let accepted = Instant::now();
        for (filter, expected, latencies) in
            [(json!({}), self.sent, &mut latencies.listed), (json!({ "text": word }), 1, &mut latencies.found)]
        {
            while self.jmap.total(filter.clone())? < expected {
                anyhow::ensure!(accepted.elapsed() < Duration::from_secs(120), "{word} never showed for {filter}");
                std::thread::sleep(Duration::from_millis(5));
            }
            latencies.push(accepted.elapsed());
        }
        std::thread::sleep(PROBE_EVERY);
        Ok(())
    }
}
