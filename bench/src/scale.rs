//! What a second process of a role adds. Each process of the role has a part of a core, so that neither the machine nor the
//! services are what limits; all others have what is left.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use crate::cluster::Cluster;
use crate::cpu::Limits;
use crate::flow::send_all;
use crate::jmap::Jmap;
use crate::messages;
use crate::metrics::Metrics;

/// Part of a core that each process of the measured role has: so little that nothing else is what limits.
const RECEPTION_CORES: f64 = 0.05;
const PIPELINES_CORES: f64 = 0.15;
const LANDER_CORES: f64 = 0.1;
const API_CORES: f64 = 0.1;
/// How long a rate is taken: a lander counts a thousand changes at a time.
const WINDOW: Duration = Duration::from_secs(24);
/// Accounts that the mail goes to: in all partitions, each of which one process works off.
const RECIPIENTS: usize = 16;
/// Until a process that was started, with little of a core, has what its partitions need.
const SETTLING: Duration = Duration::from_secs(10);
/// How long it may take until it does anything.
const STARTING: Duration = Duration::from_secs(90);
const READERS: usize = 16;

const SCREENED: &str = "millrace_pipelines_records_in_total";
const APPLIED: &str = "millrace_lander_applied_rows_total";

pub fn run(millrace: &Path, folder: &Path, repeat: usize) -> anyhow::Result<()> {
    if Limits::open().is_none() {
        println!("\nA second process of a role: left out, since this user may make no groups of processes (cgroups)");
        return Ok(());
    }
    let cluster = Cluster::up(millrace, 2)?;
    println!("\nA second process of a role, each with a part of a core: a second, with one and with two");
    let messages = Arc::new(messages::read(folder, repeat)?);
    let recipients: Arc<Vec<String>> = Arc::new((0..RECIPIENTS).map(|n| format!("user{n}@millrace.test")).collect());
    recipients.iter().try_for_each(|address| cluster.add_account(address))?;
    let show = |role: &str, cores: f64, what: &str, (one, two): (f64, f64)| {
        println!("  {role:<10} {cores:.2} of a core {one:>8.0} {two:>8.0} {what:<20} ratio {:.2}", two / one);
    };
    // What is taken meanwhile is what the others work off.
    for role in ["pipelines", "lander"] {
        stop_both(&cluster, role)?;
    }
    show("reception", RECEPTION_CORES, "messages accepted", reception(&cluster, &recipients, &messages)?);
    let screened = consumers(&cluster, "pipelines", PIPELINES_CORES, SCREENED)?;
    show("pipelines", PIPELINES_CORES, "messages screened", screened);
    wait_until_screened(&cluster)?;
    show("lander", LANDER_CORES, "changes applied", consumers(&cluster, "lander", LANDER_CORES, APPLIED)?);
    show("api", API_CORES, "lists of 50", api(&cluster)?);
    Ok(())
}

fn stop_both(cluster: &Cluster, role: &str) -> anyhow::Result<()> {
    (1..=2).try_for_each(|number| cluster.stop(&format!("{role}-{number}")))
}

/// The limit of one process, until it is dropped.
fn limit(cluster: &Cluster, role: &str, number: usize, cores: f64) -> anyhow::Result<Limits> {
    let name = format!("{role}-{number}");
    let processes = cluster.processes()?;
    let Some(process_id) = processes.get(&name) else { anyhow::bail!("{name} does not run") };
    let mut limits = Limits::open().context("no groups of processes")?;
    limits.set(&name, *process_id, cores)?;
    Ok(limits)
}

/// The sum over both processes of a role.
fn counted(cluster: &Cluster, role: &str, counter: &str, processes: usize) -> anyhow::Result<f64> {
    let look = |number| Ok(Metrics::read(cluster.http(&format!("{role}-{number}"))?)?.get(counter));
    (1..=processes).map(look).sum()
}

/// Waits until no more is screened.
fn wait_until_screened(cluster: &Cluster) -> anyhow::Result<()> {
    let mut before = -1.0;
    loop {
        let now = counted(cluster, "pipelines", SCREENED, 2)?;
        if now == before {
            return Ok(());
        }
        before = now;
        std::thread::sleep(Duration::from_secs(3));
    }
}

/// Connections to one, then to both.
fn reception(cluster: &Cluster, recipients: &Arc<Vec<String>>, messages: &[Vec<u8>]) -> anyhow::Result<(f64, f64)> {
    let _limits = [limit(cluster, "reception", 1, RECEPTION_CORES)?, limit(cluster, "reception", 2, RECEPTION_CORES)?];
    let rate = |addresses: &[_], messages: Vec<Vec<u8>>| -> anyhow::Result<f64> {
        let (begun, count) = (Instant::now(), messages.len());
        send_all(addresses, recipients, &Arc::new(messages))?;
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    };
    let half = messages.len() / 2;
    let one = rate(&cluster.target.smtp[..1], messages[..half].to_vec())?;
    Ok((one, rate(&cluster.target.smtp, messages[half..].to_vec())?))
}

/// Waits until a process has done something since it was started: until then, partitions move.
fn wait_until_begun(cluster: &Cluster, name: &str, counter: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    let count = || anyhow::Ok(Metrics::read(cluster.http(name)?)?.get(counter));
    // One that has just been started does not answer yet.
    while count().unwrap_or(0.0) == 0.0 {
        anyhow::ensure!(begun.elapsed() < STARTING, "{name} has done nothing in {} s", STARTING.as_secs());
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

/// What is waiting is worked off by one, then by both.
fn consumers(cluster: &Cluster, role: &str, cores: f64, counter: &str) -> anyhow::Result<(f64, f64)> {
    let (mut rates, mut limits) = (Vec::new(), Vec::new());
    for count in 1..=2 {
        cluster.begin(&format!("{role}-{count}"))?;
        limits.push(limit(cluster, role, count, cores)?);
        wait_until_begun(cluster, &format!("{role}-{count}"), counter)?;
        std::thread::sleep(SETTLING);
        let (begun, before) = (Instant::now(), counted(cluster, role, counter, count)?);
        std::thread::sleep(WINDOW);
        let done = counted(cluster, role, counter, count)? - before;
        anyhow::ensure!(done > 0.0, "{role} had nothing left to do: take a larger --repeat");
        rates.push(done / begun.elapsed().as_secs_f64());
    }
    Ok((rates[0], rates[1]))
}

/// Readers of one, then of both.
fn api(cluster: &Cluster) -> anyhow::Result<(f64, f64)> {
    let _limits = [limit(cluster, "api", 1, API_CORES)?, limit(cluster, "api", 2, API_CORES)?];
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
                    let jmap = Jmap::connect(http, "user0@millrace.test")?;
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
