//! An object store that fails and is slow.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::faults::{Fault, Request};
use super::{Cluster, Process, options, until};
use crate::mail::search::{SearchError, SharedOptions};

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_double_nothing() {
    let cluster = Cluster::open().await;
    let mut count = 0;
    cluster.faults.set(move |request, _| {
        count += u32::from(request == Request::Put);
        if request == Request::Put && count.is_multiple_of(3) { Fault::Lost } else { Fault::None }
    });
    let (indexing, reading) = (cluster.indexing().await, cluster.process().await);
    for n in 0..12 {
        cluster.deliver("ann", &format!("e{n}"), "zebra").await;
        reading.finds("ann", "zebra", n + 1).await;
    }
    assert_eq!(reading.search.documents(), 12);
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_nothing_delays_only_others() {
    let cluster = Cluster::open().await;
    let (indexing, reading) = (cluster.indexing().await, cluster.process().await);
    cluster.deliver("ann", "first", "zebra").await;
    reading.finds("ann", "zebra", 1).await;
    cluster.faults.set(|_, _| Fault::Refused);
    for n in 0..5 {
        cluster.deliver("ann", &format!("e{n}"), "zebra").await;
        indexing.finds("ann", "zebra", n + 2).await;
    }
    assert_eq!(reading.find("ann", "zebra").await.unwrap(), ["first"], "it answers from what it has");
    let fresh = cluster.process().await;
    let error = fresh.find("ann", "zebra").await.unwrap_err();
    assert!(matches!(error, SearchError::Unavailable { .. }), "{error}");
    cluster.faults.heal();
    reading.finds("ann", "zebra", 6).await;
    fresh.finds("ann", "zebra", 6).await;
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_is_waited_for_and_holds_no_search_up() {
    let cluster = Cluster::open().await;
    let (indexing, reading) = (cluster.indexing().await, cluster.process().await);
    cluster.deliver("ann", "first", "zebra").await;
    reading.finds("ann", "zebra", 1).await;
    cluster.faults.set(|_, _| Fault::Slow(1_500));
    cluster.deliver("ann", "second", "zebra").await;
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let asked = Instant::now();
        let found = reading.find("ann", "zebra").await.unwrap();
        longest = longest.max(asked.elapsed());
        if found.len() == 2 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    assert!(longest < Duration::from_millis(1_400), "{longest:?}");
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_any_step_loses_and_doubles_nothing() {
    let cluster = Cluster::open().await;
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    cluster.faults.set(move |_, _| match random.random_range(0..10) {
        0 | 1 => Fault::Refused,
        2 => Fault::Lost,
        3 => Fault::Slow(random.random_range(0..200)),
        _ => Fault::None,
    });
    let mut processes = vec![cluster.indexing().await, cluster.indexing().await];
    for n in 0..60 {
        cluster.deliver(&format!("user{}", n % 10), &format!("e{n}"), "zebra").await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        if n % 20 == 19 {
            processes.remove(0).kill().await;
            processes.push(cluster.indexing().await);
        }
    }
    cluster.faults.heal();
    let reading = cluster.process().await;
    for n in 0..10 {
        reading.finds(&format!("user{n}"), "zebra", 6).await;
    }
    assert_eq!(reading.search.documents(), 60);
    for process in processes {
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_comes_too_late_for_an_object_looks_again() {
    let cluster = Cluster::open().await;
    let hasty = SharedOptions { grace: Duration::ZERO, refresh_interval: Duration::ZERO, ..options() };
    let mut indexing = Process::open(cluster.faults.clone(), cluster.partitions(), hasty).await;
    indexing.start(&cluster.inputs());
    let reading = Process::open(cluster.faults.clone(), cluster.partitions(), hasty).await;
    // Manifests reach it late.
    cluster.faults.set(|request, path| match (request, path.filename()) {
        (Request::Get, Some("manifest.json")) => Fault::None,
        (Request::Get, _) => Fault::Slow(60),
        _ => Fault::None,
    });
    for n in 0..40 {
        cluster.deliver("ann", &format!("e{n}"), "zebra").await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(150) {
            if let Ok(found) = reading.find("ann", "zebra").await {
                assert!(found.len() <= n + 1);
            }
        }
    }
    reading.finds("ann", "zebra", 40).await;
    assert_eq!(reading.search.documents(), 40);
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_mail_nobody_can_see_stops_reading() {
    let cluster = Cluster::open().await;
    let held_up = SharedOptions { max_unpublished: 5, ..options() };
    let mut indexing = Process::open(cluster.faults.clone(), cluster.partitions(), held_up).await;
    indexing.start(&cluster.inputs());
    until("all shards are owned", || indexing.owned().len() == cluster.partitions() as usize).await;
    cluster.faults.set(|request, _| if request == Request::Put { Fault::Refused } else { Fault::None });
    for n in 0..20 {
        cluster.deliver("ann", &format!("e{n}"), "zebra").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(indexing.find("ann", "zebra").await.unwrap().len() < 20);
    cluster.faults.heal();
    indexing.finds("ann", "zebra", 20).await;
    indexing.stop().await;
}
