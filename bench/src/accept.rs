//! Messages a second answered 250.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::peer::Peer;

/// Message size in bytes, connections, messages in a round.
const CASES: [(usize, usize, usize); 4] =
    [(4096, 50, 20_000), (102_400, 50, 5_000), (4096, 1, 2_000), (102_400, 1, 1_000)];

pub fn run(millrace: &Path, rounds: usize, with_postfix: bool) -> anyhow::Result<()> {
    println!("\nAccepted messages a second (median of {rounds} rounds, smtp-source, every 250 synced)");
    println!(
        "{:>8} {:>6} {:>10} {:>10} {:>10} {:>12} {:>12}",
        "bytes", "conns", "millrace", "smtp-sink", "postfix", "x sink", "x postfix"
    );
    // Postfix comes after all others: what it leaves to the disk would slow whoever syncs next to it.
    let mut kept = Vec::new();
    for (bytes, connections, messages) in CASES {
        let (mut ours, mut sink) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(rate(&Peer::millrace(millrace)?, bytes, connections, messages)?);
            sink.push(rate(&Peer::sink()?, bytes, connections, messages)?);
            settle()?;
        }
        kept.push((median(ours), median(sink)));
    }
    for ((bytes, connections, messages), (ours, sink)) in CASES.into_iter().zip(kept) {
        let mut postfix = Vec::new();
        for _ in 0..if with_postfix { rounds } else { 0 } {
            postfix.push(rate(&Peer::postfix()?, bytes, connections, messages / 10)?);
            settle()?;
        }
        let postfix = median(postfix);
        println!(
            "{bytes:>8} {connections:>6} {ours:>10.0} {sink:>10.0} {postfix:>10.0} {:>12.2} {:>12.1}",
            ours / sink,
            ours / postfix
        );
    }
    Ok(())
}

fn rate(peer: &Peer, bytes: usize, connections: usize, messages: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    let output = Command::new("smtp-source")
        .args(["-s", &connections.to_string(), "-m", &messages.to_string(), "-l", &bytes.to_string(), "-d"])
        .args(["-f", "bench@example.org", "-t", "user@millrace.test", &peer.smtp.to_string()])
        .output()
        .context("smtp-source is in Debian's postfix package")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success() && errors.is_empty(), "{}: {errors}", peer.name);
    Ok(messages as f64 / start.elapsed().as_secs_f64())
}

/// Waits until what the one before has left to the disk is written: it is not the next one's to pay for.
fn settle() -> anyhow::Result<()> {
    let is_synced = Command::new("sync").status().context("sync is in coreutils")?.success();
    anyhow::ensure!(is_synced, "sync failed");
    std::thread::sleep(Duration::from_secs(2));
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
