//! The same load on everything in one process and on a cluster, in one run on one machine, and where the time goes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::cluster::{Cluster, ROLES};
use crate::cpu;
use crate::flow::{CONNECTIONS, Figures, measure, quantile};
use crate::messages;
use crate::metrics::Metrics;
use crate::peer::Peer;

/// CPU time by process.
type Usage = BTreeMap<String, Duration>;

pub fn run(millrace: &Path, folder: &Path, repeat: usize) -> anyhow::Result<()> {
    let count = messages::read(folder, repeat)?.len();
    let mut rows: Vec<(String, Figures, Usage)> = Vec::new();
    {
        let peer = Peer::millrace(millrace)?;
        let processes = peer.process_id().map(|id| ("millrace".to_owned(), id)).into_iter().collect();
        let (figures, usage) = measured(&processes, || measure(&peer.target(), messages::read(folder, repeat)?))?;
        rows.push(("one process".to_owned(), figures, usage));
    }
    let mut times = Vec::new();
    for processes in [1, 2] {
        let cluster = Cluster::up(millrace, processes)?;
        let load = || measure(&cluster.target, messages::read(folder, repeat)?);
        let (figures, usage) = measured(&cluster.processes()?, load)?;
        rows.push((format!("cluster, {processes} of each"), figures, usage));
        if processes == 1 {
            for role in ROLES {
                times.push((role, Metrics::read(cluster.http(&format!("{role}-1"))?)?));
            }
        }
    }
    println!("\nOne process and a cluster: {count} messages, {CONNECTIONS} connections, all on this machine");
    report(&rows);
    println!("\nCPU time by process, ms a message");
    for (name, _, usage) in &rows {
        println!("  {name}: {}", by_process(usage, count));
    }
    println!("\nTimes in the cluster with one process of each role (count, mean)");
    for (role, metrics) in times {
        for (name, count, sum) in metrics.times().filter(|(_, count, _)| *count > 0.0) {
            println!("  {role:<10} {name:<40} {count:>8.0} {:>9.1} ms", sum / count * 1000.0);
        }
    }
    Ok(())
}

fn measured(
    processes: &BTreeMap<String, u32>,
    load: impl FnOnce() -> anyhow::Result<Figures>,
) -> anyhow::Result<(Figures, Usage)> {
    let used = || -> anyhow::Result<Usage> {
        processes.iter().map(|(name, id)| Ok((name.clone(), cpu::used(*id)?))).collect()
    };
    let before = used()?;
    let figures = load()?;
    let usage = used()?.into_iter().map(|(name, after)| (name.clone(), after.saturating_sub(before[&name]))).collect();
    Ok((figures, usage))
}

fn report(rows: &[(String, Figures, Usage)]) {
    println!(
        "  {:<20} {:>9} {:>12} {:>9} {:>7} | {:>16} {:>16} {:>16} {:>16}",
        "",
        "accepted",
        "in mailboxes",
        "found",
        "ratio",
        "listed, idle",
        "found, idle",
        "listed, loaded",
        "found, loaded"
    );
    let first = rows.first().map_or(f64::NAN, |(_, figures, _)| figures.delivered);
    for (name, figures, _) in rows {
        let times = [&figures.idle.listed, &figures.idle.found, &figures.loaded.listed, &figures.loaded.found];
        let times = times.map(|times| format!("{:.0?}/{:.0?}", quantile(times, 0.5), quantile(times, 0.99)));
        println!(
            "  {name:<20} {:>7.0}/s {:>10.0}/s {:>7.0}/s {:>7.2} | {:>16} {:>16} {:>16} {:>16}",
            figures.accepted,
            figures.delivered,
            figures.searchable,
            figures.delivered / first,
            times[0],
            times[1],
            times[2],
            times[3]
        );
    }
    println!("  (times are p50/p99 from the 250 on; the ratio is that of mail in mailboxes)");
}

fn by_process(usage: &Usage, count: usize) -> String {
    let mut parts: Vec<_> = usage.iter().collect();
    parts.sort_by_key(|(_, used)| std::cmp::Reverse(**used));
    let each = |used: &Duration| used.as_secs_f64() * 1000.0 / count as f64;
    let listed: Vec<String> = parts.iter().map(|(name, used)| format!("{name} {:.2}", each(used))).collect();
    let total: Duration = usage.values().sum();
    format!("{:.2} in all: {}", each(&total), listed.join(", "))
}
