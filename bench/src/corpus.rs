//! End to end on real mail: from SMTP until every message is in its mailbox, and how long after its 250 it is there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use serde_json::{Value, json};

use crate::peer::{PASSWORD, Peer};

const CONNECTIONS: usize = 50;
/// A marked message is followed to the mailbox this often while the corpus flows.
const PROBE_EVERY: Duration = Duration::from_millis(50);

pub fn run(millrace: &Path, folder: &Path, repeat: usize) -> anyhow::Result<()> {
    let corpus = read(folder).context("fetch the corpus first: just corpus")?;
    let pass = |number: usize| corpus.iter().map(move |raw| [format!("X-Pass: {number}\n").as_bytes(), raw].concat());
    let messages = Arc::new((0..repeat).flat_map(pass).collect::<Vec<_>>());
    let peer = Peer::millrace(millrace)?;
    let http = peer.http.context("no HTTP address")?;
    let jmap = Jmap::connect(http, "user@millrace.test")?;
    let prober = Jmap::connect(http, "probe@millrace.test")?;
    let start = Instant::now();
    let done = Arc::new(AtomicBool::new(false));
    let probe = std::thread::spawn({
        let (done, smtp) = (done.clone(), peer.smtp);
        move || probe(&prober, smtp, &done)
    });
    send_all(peer.smtp, &messages)?;
    let accepted = start.elapsed();
    let (visible, delivered) = wait_for(&jmap, messages.len())?;
    let searchable = wait_until_searchable(&jmap, peer.smtp)?;
    done.store(true, Ordering::Relaxed);
    let (mut listed, mut found) = probe.join().map_err(|_| anyhow::anyhow!("the probe failed"))??;
    let rate = |time: Duration| messages.len() as f64 / time.as_secs_f64();
    let (delivered, searchable) = (delivered.duration_since(start), searchable.duration_since(start));
    let count = messages.len();
    println!("\nEnd to end on {count} messages, {repeat} times the corpus, {CONNECTIONS} connections");
    println!("  accepted            {:>8.0} messages a second", rate(accepted));
    println!("  in their mailboxes  {:>8.0} messages a second ({visible} emails)", rate(delivered));
    println!("  found by a search   {:>8.0} messages a second, at least", rate(searchable));
    for (name, latencies) in [("listed", &mut listed), ("found", &mut found)] {
        let (p50, p99) = (at(latencies, 0.5), at(latencies, 0.99));
        println!("  250 to {name:<12} p50 {p50:.0?}, p99 {p99:.0?} over {} probes", latencies.len());
    }
    println!("  peak memory         {:>8} MB", peer.peak_memory_bytes().unwrap_or(0) >> 20);
    std::thread::sleep(Duration::from_secs(35));
    report_disk(peer.data.path(), visible, messages.iter().map(Vec::len).sum())?;
    Ok(())
}

fn read(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    files.iter().map(|file| Ok(without_from_line(std::fs::read(file)?))).collect()
}

/// Files of the corpus begin with the line that an mbox has before each message.
fn without_from_line(raw: Vec<u8>) -> Vec<u8> {
    match raw.iter().position(|byte| *byte == b'\n') {
        Some(end) if raw.starts_with(b"From ") => raw[end + 1..].to_vec(),
        _ => raw,
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    Ok(())
}

fn send_all(smtp: SocketAddr, messages: &Arc<Vec<Vec<u8>>>) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (next, messages) = (next.clone(), messages.clone());
            std::thread::spawn(move || -> anyhow::Result<()> {
                let mut client = Smtp::connect(smtp)?;
                while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
                    client.send("user@millrace.test", message)?;
                }
                Ok(())
            })
        })
        .collect();
    for sender in senders {
        sender.join().map_err(|_| anyhow::anyhow!("a sender failed"))??;
    }
    Ok(())
}

/// Waits until no more emails come, and says how many there are and when the last one came.
fn wait_for(jmap: &Jmap, sent: usize) -> anyhow::Result<(usize, Instant)> {
    let mut last = (0, Instant::now());
    loop {
        let total = jmap.held()?;
        if total != last.0 {
            last = (total, Instant::now());
        }
        // Quarantined and duplicate messages never show: no change for two seconds is the end.
        if total == sent || (total > sent * 9 / 10 && last.1.elapsed() > Duration::from_secs(2)) {
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

/// Sends messages to an account of its own, one by one, and times each from its 250 until it is listed and until a
/// search for a word of its text finds it.
fn probe(jmap: &Jmap, smtp: SocketAddr, done: &AtomicBool) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let mut client = Smtp::connect(smtp)?;
    let (mut listed, mut found) = (Vec::new(), Vec::new());
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let word = format!("probe{number}word");
        let raw = format!("From: probe@example.org\nSubject: probe\n\nThis is {word}.\n");
        client.send("probe@millrace.test", raw.as_bytes())?;
        let accepted = Instant::now();
        for (filter, latencies) in [(json!({}), &mut listed), (json!({ "text": word }), &mut found)] {
            let expected = if filter == json!({}) { number + 1 } else { 1 };
            while jmap.total(filter.clone())? < expected {
                anyhow::ensure!(accepted.elapsed() < Duration::from_secs(120), "{word} never showed for {filter}");
                std::thread::sleep(Duration::from_millis(5));
            }
            latencies.push(accepted.elapsed());
        }
        std::thread::sleep(PROBE_EVERY);
    }
    Ok((listed, found))
}

fn at(latencies: &mut [Duration], quantile: f64) -> Duration {
    latencies.sort();
    latencies.get(((latencies.len().max(1) - 1) as f64 * quantile) as usize).copied().unwrap_or_default()
}

fn report_disk(data: &Path, emails: usize, sent_bytes: usize) -> anyhow::Result<()> {
    let mut parts: HashMap<String, u64> = HashMap::new();
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        parts.insert(entry.file_name().to_string_lossy().into_owned(), size(&entry.path())?);
    }
    let total: u64 = parts.values().sum();
    let each = |bytes: u64| bytes / emails.max(1) as u64;
    println!("  disk per message    {} bytes; {} were sent", each(total), each(sent_bytes as u64));
    let mut parts: Vec<_> = parts.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    for (name, bytes) in parts {
        println!("    {name:<18}{:>8}", each(bytes));
    }
    Ok(())
}

/// Bytes that a file or folder takes on disk.
fn size(path: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    let mut total = 0;
    for entry in std::fs::read_dir(path)? {
        total += size(&entry?.path())?;
    }
    Ok(total)
}

struct Smtp {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Smtp {
    fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        let mut client = Self { reader: BufReader::new(writer.try_clone()?), writer };
        client.expect("220")?;
        client.writer.write_all(b"EHLO bench.example.org\r\n")?;
        client.expect("250")?;
        Ok(client)
    }

    fn expect(&mut self, code: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            anyhow::ensure!(self.reader.read_line(&mut line)? > 0, "the server closed the connection");
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        anyhow::ensure!(line.starts_with(code), "wanted {code}, got {line}");
        Ok(())
    }

    fn send(&mut self, to: &str, raw: &[u8]) -> anyhow::Result<()> {
        let envelope = format!("MAIL FROM:<bench@example.org>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        self.writer.write_all(envelope.as_bytes())?;
        self.expect("250")?;
        self.expect("250")?;
        self.expect("354")?;
        let mut text = Vec::with_capacity(raw.len() + raw.len() / 30);
        for line in raw.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b".") {
                text.push(b'.');
            }
            text.extend(line.iter().filter(|byte| **byte != b'\r'));
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b".\r\n");
        self.writer.write_all(&text)?;
        self.expect("250")
    }
}

struct Jmap {
    url: String,
    authorization: String,
    account_id: String,
}

impl Jmap {
    fn connect(http: SocketAddr, address: &str) -> anyhow::Result<Self> {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{address}:{PASSWORD}"));
        let authorization = format!("Basic {credentials}");
        let mut session =
            ureq::get(format!("http://{http}/jmap/session")).header("authorization", &authorization).call()?;
        let session: Value = serde_json::from_str(&session.body_mut().read_to_string()?)?;
        let account_id = session["primaryAccounts"]["urn:ietf:params:jmap:mail"].as_str().context("no account")?;
        Ok(Self { url: format!("http://{http}/jmap"), authorization, account_id: account_id.to_owned() })
    }

    fn calls(&self, calls: &Value) -> anyhow::Result<Value> {
        let using = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"];
        let request = json!({ "using": using, "methodCalls": calls });
        let mut response = ureq::post(&self.url)
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .send(request.to_string().as_bytes())?;
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
        let answer: Value = serde_json::from_str(&text)?;
        Ok(answer["methodResponses"].clone())
    }

    fn total(&self, filter: Value) -> anyhow::Result<usize> {
        let query = json!({ "accountId": self.account_id, "filter": filter, "calculateTotal": true, "limit": 1 });
        let answer = self.calls(&json!([["Email/query", query, "0"]]))?;
        Ok(answer[0][1]["total"].as_u64().with_context(|| answer.to_string())? as usize)
    }

    /// Emails in all mailboxes; an email of the bench is in one of them.
    fn held(&self) -> anyhow::Result<usize> {
        let get = json!({ "accountId": self.account_id, "ids": null, "properties": ["totalEmails"] });
        let answer = self.calls(&json!([["Mailbox/get", get, "0"]]))?;
        let list = answer[0][1]["list"].as_array().with_context(|| answer.to_string())?;
        Ok(list.iter().filter_map(|mailbox| mailbox["totalEmails"].as_u64()).sum::<u64>() as usize)
    }
}
