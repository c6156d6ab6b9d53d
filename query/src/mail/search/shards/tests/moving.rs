//! Partitions that come and go.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::faults::{Fault, Request};
use super::{Cluster, Process, options, until};
use crate::mail::search::SharedOptions;

impl Cluster {
    /// A process on the disk of one before.
    async fn process_on(&self, dir: Arc<TempDir>) -> Process {
        let mut process = Process::on(dir, self.faults.clone(), self.partitions(), options()).await;
        process.start(&self.inputs());
        process
    }

    /// Waits until each partition has one owner among these, and none has none.
    async fn shared_out(&self, processes: &[&Process]) {
        let all = self.partitions() as usize;
        let share = all / processes.len();
        until("partitions are shared out", || {
            let owned: Vec<usize> = processes.iter().map(|process| process.owned().len()).collect();
            owned.iter().sum::<usize>() == all && owned.iter().all(|owned| *owned >= share)
        })
        .await;
    }
}

/// Documents of all shards, as a process that has none sees them.
async fn documents(cluster: &Cluster, accounts: usize) -> u64 {
    let reading = cluster.process().await;
    for n in 0..accounts {
        reading.find(&format!("user{n}"), "same").await.unwrap();
    }
    reading.search.documents()
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_that_join_leave_and_die_lose_and_double_nothing() {
    let cluster = Cluster::open().await;
    let reading = cluster.process().await;
    let mut processes = vec![cluster.indexing().await];
    let mut delivered = 0;
    for round in 0..6 {
        for n in 0..20 {
            cluster.deliver(&format!("user{n}"), &format!("e{round}-{n}"), &format!("round{round}")).await;
            delivered += 1;
        }
        tokio::time::sleep(Duration::from_millis(round * 130)).await;
        match round {
            0 | 3 => processes.push(cluster.indexing().await),
            1 => drop(processes.remove(0).kill().await),
            2 => drop(processes.remove(0).stop().await),
            4 => {
                let dir = processes.remove(0).kill().await;
                processes.push(cluster.process_on(dir).await);
            }
            _ => {}
        }
        if processes.is_empty() {
            processes.push(cluster.indexing().await);
        }
    }
    for n in 0..20 {
        reading.finds(&format!("user{n}"), "same", 6).await;
    }
    assert_eq!(documents(&cluster, 20).await, delivered);
    for process in processes {
        process.stop().await;
    }
    assert_eq!(documents(&cluster, 20).await, delivered);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_stay_are_not_taken_over_again() {
    let cluster = Cluster::open().await;
    let first = cluster.indexing().await;
    cluster.shared_out(&[&first]).await;
    let epochs = async |process: &Process| {
        let mut epochs = Vec::new();
        for partition in 0..cluster.partitions() {
            let store = &process.shards().shard(partition).unwrap().store;
            epochs.push(store.manifest().await.unwrap().unwrap().manifest.epoch);
        }
        epochs
    };
    assert!(epochs(&first).await.iter().all(|epoch| *epoch == 1));
    let second = cluster.indexing().await;
    cluster.shared_out(&[&first, &second]).await;
    let (after, stayed) = (epochs(&first).await, first.owned());
    assert!(stayed.iter().all(|partition| after[*partition as usize] == 1), "{stayed:?} {after:?}");
    assert!(second.owned().iter().all(|partition| after[*partition as usize] == 2));
    second.stop().await;
    cluster.shared_out(&[&first]).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_fetches_only_what_its_disk_lacks() {
    let cluster = Cluster::open().await;
    let reading = cluster.process().await;
    let process = cluster.indexing().await;
    for n in 0..20 {
        cluster.deliver(&format!("user{n}"), "e", "zebra").await;
        reading.finds(&format!("user{n}"), "zebra", 1).await;
    }
    let dir = process.stop().await;
    let fetched = Arc::new(AtomicUsize::new(0));
    let counted = fetched.clone();
    cluster.faults.set(move |request, path| {
        if request == Request::Get && path.filename() != Some("manifest.json") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Fault::None
    });
    let process = cluster.process_on(dir.clone()).await;
    cluster.shared_out(&[&process]).await;
    process.finds("user3", "zebra", 1).await;
    assert_eq!(fetched.load(Ordering::Relaxed), 0);
    process.stop().await;
    // A disk thrown away costs only the fetching.
    std::fs::remove_dir_all(dir.path()).unwrap();
    let process = cluster.process_on(dir.clone()).await;
    cluster.shared_out(&[&process]).await;
    assert!(fetched.load(Ordering::Relaxed) > 0);
    process.finds("user3", "zebra", 1).await;
    // Also under one who works on it.
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    for n in 0..20 {
        cluster.deliver(&format!("user{n}"), "later", "zebra").await;
    }
    for n in 0..20 {
        reading.finds(&format!("user{n}"), "zebra", 2).await;
    }
    assert_eq!(documents(&cluster, 20).await, 40);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_writers_and_little_disk_are_enough() {
    let cluster = Cluster::open().await;
    let small = SharedOptions { max_writers: 1, cache_bytes: 1, ..options() };
    let mut indexing = Process::open(cluster.faults.clone(), cluster.partitions(), small).await;
    indexing.start(&cluster.inputs());
    let reading = Process::open(cluster.faults.clone(), cluster.partitions(), small).await;
    for round in 0..3 {
        for n in 0..20 {
            cluster.deliver(&format!("user{n}"), &format!("e{round}"), "zebra").await;
        }
    }
    for n in 0..20 {
        reading.finds(&format!("user{n}"), "zebra", 3).await;
    }
    let opened = reading.shards().shards.iter().filter(|shard| shard.remote.opened().is_some()).count();
    assert_eq!(opened, 1, "the others were thrown away");
    assert_eq!(documents(&cluster, 20).await, 60);
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_told_only_what_is_published() {
    let cluster = Cluster::open().await;
    let indexing = cluster.indexing().await;
    cluster.shared_out(&[&indexing]).await;
    let at = cluster.world.deliver("ann", "first", &super::mail("zebra")).await[0];
    indexing.finds("ann", "zebra", 1).await;
    indexing.stop().await;
    let committed = async || {
        let log = &cluster.world.log;
        log.committed(crate::mail::search::indexer::GROUP, at.topic, at.partition).await.unwrap()
    };
    assert_eq!(committed().await, Some(at.offset + 1));
    let indexing = cluster.indexing().await;
    cluster.shared_out(&[&indexing]).await;
    cluster.faults.set(|request, _| if request == Request::Put { Fault::Refused } else { Fault::None });
    cluster.deliver("ann", "second", "zebra").await;
    indexing.finds("ann", "zebra", 2).await;
    indexing.stop().await;
    assert_eq!(committed().await, Some(at.offset + 1), "nobody else can see the second");
}
