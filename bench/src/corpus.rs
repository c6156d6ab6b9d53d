//! End to end on real mail, everything in one process.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::flow::{CONNECTIONS, measure, quantile};
use crate::messages;
use crate::peer::Peer;

pub fn run(millrace: &Path, folder: &Path, repeat: usize) -> anyhow::Result<()> {
    let messages = messages::read(folder, repeat)?;
    let (count, bytes) = (messages.len(), messages.iter().map(Vec::len).sum());
    let peer = Peer::millrace(millrace)?;
    let figures = measure(&peer.target(), messages)?;
    println!("\nEnd to end on {count} messages, {repeat} times the corpus, {CONNECTIONS} connections");
    println!("  accepted            {:>8.0} messages a second", figures.accepted);
    println!("  in their mailboxes  {:>8.0} messages a second ({} emails)", figures.delivered, figures.visible);
    println!("  found by a search   {:>8.0} messages a second, at least", figures.searchable);
    for (when, latencies) in [("idle", &figures.idle), ("under load", &figures.loaded)] {
        for (name, latencies) in [("listed", &latencies.listed), ("found", &latencies.found)] {
            let (p50, p99) = (quantile(latencies, 0.5), quantile(latencies, 0.99));
            println!("  250 to {name:<8}{when:<11} p50 {p50:.0?}, p99 {p99:.0?} over {} probes", latencies.len());
        }
    }
    println!("  peak memory         {:>8} MB", peer.peak_memory_bytes().unwrap_or(0) >> 20);
    std::thread::sleep(Duration::from_secs(35));
    report_disk(peer.data.path(), figures.visible, bytes)?;
    Ok(())
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
