//! How long each stage takes on the corpus, one thread, and how the time is spread.
//!
//! `cargo run --release -p millrace-udfs --example stage_speed -- corpus/package/data`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use millrace_storage::first_seen::FirstSeenError;
use millrace_storage::{BlobError, BlobStore, BodyRef, Claim, FirstSeen};
use millrace_udfs::spam::corpus::{self, Judged};
use millrace_udfs::{Dns, StageOptions, Stages, searchable_text};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: stage_speed CORPUS_FOLDER")?;
    let messages = corpus::read(Path::new(&folder))?;
    let bytes: usize = messages.iter().map(|judged| judged.raw.len()).sum();
    println!("{} messages, {} bytes on average", messages.len(), bytes / messages.len().max(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = StageOptions {
        blobs: Arc::new(Nothing),
        first_seen: Arc::new(Nothing),
        dns: Dns::Off,
        rules_dir: std::env::args().nth(2).map(Into::into),
    };
    let stages = Stages::new(options)?;
    measure("summarise", &messages, |raw| stages.summarise(raw).len());
    measure("searchable_text", &messages, |raw| searchable_text(raw).body.len());
    measure("scan_virus", &messages, |raw| stages.scan_virus(raw).len());
    measure("score_spam", &messages, |raw| stages.score_spam(raw, "{}").len());
    measure("authenticate, DNS off", &messages, |raw| {
        runtime.block_on(stages.authenticate(raw, "192.0.2.1", "h.test", Some("a@b.test"), "mx.test")).len()
    });
    let found = messages.iter().filter(|judged| !stages.scan_virus(&judged.raw).contains("\"name\":null")).count();
    println!("{found} messages match a virus rule");
    Ok(())
}

fn measure(what: &str, messages: &[Judged], call: impl Fn(&[u8]) -> usize) {
    let mut times: Vec<Duration> = Vec::with_capacity(messages.len());
    let mut size = 0;
    for judged in messages {
        let start = Instant::now();
        size += call(&judged.raw);
        times.push(start.elapsed());
    }
    let total: Duration = times.iter().sum();
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_micros();
    let mean = total.as_micros() as usize / times.len();
    println!("{what}: mean {mean} µs, p50 {} µs, p99 {} µs, max {} µs ({size} bytes out)", at(50), at(99), at(100));
}

/// Stores that the stages measured here do not use.
struct Nothing;

#[async_trait]
impl BlobStore for Nothing {
    async fn put(&self, _: Bytes) -> Result<BodyRef, BlobError> {
        Err(BlobError::Unavailable("nothing is stored here".to_owned()))
    }

    async fn get(&self, reference: &BodyRef) -> Result<Bytes, BlobError> {
        Err(BlobError::NotFound(reference.clone()))
    }
}

#[async_trait]
impl FirstSeen for Nothing {
    async fn claim(&self, _: [u8; 32], _: &str, _: i64) -> Result<Claim, FirstSeenError> {
        Ok(Claim::First)
    }

    async fn expire(&self, _: i64) -> Result<u64, FirstSeenError> {
        Ok(0)
    }
}
