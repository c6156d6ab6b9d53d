//! What a second process of a role adds. Each process of the role has a part of a core, so that neither the machine nor the
//! services are what limits; all others have what is left.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::Cluster;
use crate::cpu::Limits;
use crate::flow::send_all;
use crate::jmap::Jmap;
use crate::messages;
use crate::metrics::Metrics;

/// Part of a core that each process of the measured role has.
const CORES: f64 = 0.2;
/// How long a rate is taken.
const WINDOW: Duration = Duration::from_secs(12);
/// Until partitions have moved to a process that was started.
const SETTLING: Duration = Duration::from_secs(8);
const READERS: usize = 16;

pub fn run(millrace: &Path, folder: &Path, repeat: usize) -> anyhow::Result<()> {
    let Some(mut limits) = Limits::open() else {
        println!("\nA second process of a role: left out, since this user may make no groups of processes (cgroups)");
        return Ok(());
    };
    let cluster = Cluster::up(millrace, 2)?;
    println!("\nA second process of a role, each with {CORES} of a core; a second, with one and with two");
    let messages = Arc::new(messages::read(folder, repeat)?);
    let show = |role: &str, what: &str, one: f64, two: f64| {
        println!("  {role:<10} {one:>8.0} {two:>8.0} {what:<20} ratio {:.2}", two / one);
    };
    let (one, two) = reception(&cluster, &mut limits, &messages)?;
    show("reception", "messages accepted", one, two);
    let (one, two) = consumers(&cluster, &mut limits, "pipelines", "millrace_pipelines_records_in_total", &messages)?;
    show("pipelines", "messages screened", one, two);
    let (one, two) = consumers(&cluster, &mut limits, "lander", "millrace_lander_applied_rows_total", &messages)?;
    show("lander", "changes applied", one, two);
    let (one, two) = api(&cluster, &mut limits)?;
    show("api", "lists of 50", one, two);
    Ok(())
}

fn limit(cluster: &Cluster, limits: &mut Limits, role: &str, number: usize) -> anyhow::Result<()> {
    let name = format!("{role}-{number}");
    let processes = cluster.processes()?;
    let Some(process_id) = processes.get(&name) else { anyhow::bail!("{name} does not run") };
    limits.set(&name, *process_id, CORES)
}

/// Connections to one, then to both.
fn reception(cluster: &Cluster, limits: &mut Limits, messages: &Arc<Vec<Vec<u8>>>) -> anyhow::Result<(f64, f64)> {
    for number in [1, 2] {
        limit(cluster, limits, "reception", number)?;
    }
    let rate = |addresses: &[_], messages: Vec<Vec<u8>>| -> anyhow::Result<f64> {
        let (begun, count) = (Instant::now(), messages.len());
        send_all(addresses, &Arc::new(messages))?;
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    };
    let half = messages.len() / 2;
    let one = rate(&cluster.target.smtp[..1], messages[..half].to_vec())?;
    Ok((one, rate(&cluster.target.smtp, messages[half..].to_vec())?))
}

/// What is waiting is worked off by one, then by both.
fn consumers(
    cluster: &Cluster,
    limits: &mut Limits,
    role: &str,
    counter: &str,
    messages: &Arc<Vec<Vec<u8>>>,
) -> anyhow::Result<(f64, f64)> {
    for number in [1, 2] {
        cluster.stop(&format!("{role}-{number}"))?;
    }
    let marked = messages.iter().map(|raw| [format!("X-Measured: {role}\n").as_bytes(), raw].concat()).collect();
    send_all(&cluster.target.smtp, &Arc::new(marked))?;
    let mut rates = Vec::new();
    for count in 1..=2 {
        cluster.start(&format!("{role}-{count}"))?;
        limit(cluster, limits, role, count)?;
        std::thread::sleep(SETTLING);
        let done = || -> anyhow::Result<f64> {
            let look = |number| Ok(Metrics::read(cluster.http(&format!("{role}-{number}"))?)?.get(counter));
            (1..=count).map(look).sum()
        };
        let (begun, before) = (Instant::now(), done()?);
        std::thread::sleep(WINDOW);
        rates.push((done()? - before) / begun.elapsed().as_secs_f64());
    }
    Ok((rates[0], rates[1]))
}

/// Readers of one, then of both.
fn api(cluster: &Cluster, limits: &mut Limits) -> anyhow::Result<(f64, f64)> {
    for number in [1, 2] {
        limit(cluster, limits, "api", number)?;
    }
    let mut rates = Vec::new();
    for count in 1..=2 {
        let (done, lists) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let readers: Vec<_> = cluster.target.http[..count]
            .iter()
            .cycle()
            .take(READERS)
            .map(|http| {
                let (done, lists, http) = (done.clone(), lists.clone(), *http);
                std::thread::spawn(move || -> anyhow::Result<()> {
                    let jmap = Jmap::connect(http, "user@millrace.test")?;
                    while !done.load(Ordering::Relaxed) {
                        list(&jmap)?;
                        lists.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        std::thread::sleep(SETTLING);
        let (begun, before) = (Instant::now(), lists.load(Ordering::Relaxed));
        std::thread::sleep(WINDOW);
        let rate = (lists.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().map_err(|_| anyhow::anyhow!("a reader failed"))??;
        }
        rates.push(rate);
    }
    Ok((rates[0], rates[1]))
}

/// What webmail shows first.
fn list(jmap: &Jmap) -> anyhow::Result<()> {
    let account = &jmap.account_id;
    let sort = json!([{ "property": "receivedAt", "isAscending": false }]);
    let ids = json!({ "resultOf": "0", "name": "Email/query", "path": "/ids" });
    let properties = ["subject", "from", "receivedAt", "preview", "keywords"];
    let answer = jmap.calls(&json!([
        ["Email/query", { "accountId": account, "sort": sort, "limit": 50 }, "0"],
        ["Email/get", { "accountId": account, "#ids": ids, "properties": properties }, "1"]
    ]))?;
    anyhow::ensure!(answer[1][0] == "Email/get", "{answer}");
    Ok(())
}
