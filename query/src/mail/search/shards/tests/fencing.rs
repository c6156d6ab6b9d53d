//! Two that believe a shard to be theirs.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_schemas::{Topic, topic::partition_of};
use millrace_storage::Record;

use super::super::owned::Owned;
use super::faults::{Fault, Request};
use super::{Cluster, Process, mail, take_over, until};

const PATIENCE: Duration = Duration::from_secs(20);

impl Cluster {
    fn partition(&self) -> u32 {
        partition_of("ann", self.partitions())
    }

    /// Delivers to `ann`, and gives all records of her partition.
    async fn delivered(&self, email_id: &str, word: &str) -> Vec<Record> {
        self.world.deliver("ann", email_id, &mail(word)).await;
        self.world.log.read(Topic::MailboxChanges, self.partition(), 0, 1_000, 1 << 20).await.unwrap()
    }

    async fn index(&self, owned: &mut Owned, records: &[Record]) {
        owned.take(records, &self.inputs()).await.unwrap();
        owned.commit().await.unwrap();
    }

    async fn claim(&self, process: &Process) -> String {
        let store = &process.shards().shard(self.partition()).unwrap().store;
        store.manifest().await.unwrap().unwrap().manifest.claim
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_publishes_nothing() {
    let cluster = Cluster::open().await;
    let (a, b, reading) = (cluster.process().await, cluster.process().await, cluster.process().await);
    let mut former = take_over(&cluster, &a, cluster.partition()).await.unwrap();
    let records = cluster.delivered("first", "zebra").await;
    cluster.index(&mut former, &records).await;
    assert!(former.is_published(PATIENCE).await);
    let mut owner = take_over(&cluster, &b, cluster.partition()).await.unwrap();
    assert_eq!(owner.next, records.last().unwrap().position.offset + 1);
    let claim = cluster.claim(&b).await;
    // It wakes up, and goes on as if nothing had been.
    let records = cluster.delivered("second", "zebra").await;
    cluster.index(&mut former, &records).await;
    assert!(!former.is_published(PATIENCE).await);
    assert!(former.failure().unwrap().to_string().contains("another owner"));
    assert_eq!(cluster.claim(&b).await, claim);
    assert_eq!(reading.find("ann", "zebra").await.unwrap(), ["first"]);
    cluster.index(&mut owner, &records).await;
    assert!(owner.is_published(PATIENCE).await);
    reading.finds("ann", "zebra", 2).await;
    assert_eq!(reading.search.documents(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_froze_while_it_published_wakes_fenced() {
    let cluster = Cluster::open().await;
    let (a, b, reading) = (cluster.process().await, cluster.process().await, cluster.process().await);
    let mut frozen = take_over(&cluster, &a, cluster.partition()).await.unwrap();
    let records = cluster.delivered("first", "zebra").await;
    let is_frozen = Arc::new(AtomicBool::new(false));
    let freeze = is_frozen.clone();
    cluster.faults.set(move |request, path| {
        let is_manifest = request == Request::Put && path.filename() == Some("manifest.json");
        if is_manifest && !freeze.swap(true, Ordering::Relaxed) { Fault::Slow(3_000) } else { Fault::None }
    });
    cluster.index(&mut frozen, &records).await;
    until("it is about to put its manifest", || is_frozen.load(Ordering::Relaxed)).await;
    let mut owner = take_over(&cluster, &b, cluster.partition()).await.unwrap();
    assert_eq!(owner.next, 0, "nothing was published");
    let claim = cluster.claim(&b).await;
    assert!(!frozen.is_published(PATIENCE).await);
    assert!(frozen.failure().is_some());
    assert_eq!(cluster.claim(&b).await, claim);
    cluster.index(&mut owner, &records).await;
    reading.finds("ann", "zebra", 1).await;
    // What the frozen one had stored goes with the next claim.
    let mut next = take_over(&cluster, &a, cluster.partition()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let records = cluster.delivered("second", "zebra").await;
    cluster.index(&mut next, &records).await;
    assert!(next.is_published(PATIENCE).await);
    let store = &b.shards().shard(cluster.partition()).unwrap().store;
    let begun = std::time::Instant::now();
    loop {
        let mut named: Vec<String> =
            store.manifest().await.unwrap().unwrap().manifest.objects.into_iter().map(|object| object.name).collect();
        let mut listed = store.list().await.unwrap();
        named.sort();
        listed.sort();
        if named == listed {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{named:?} {listed:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    reading.finds("ann", "zebra", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_without_new_mail_notices_that_it_is_none() {
    let cluster = Cluster::open().await;
    let (a, b) = (cluster.process().await, cluster.process().await);
    let former = take_over(&cluster, &a, cluster.partition()).await.unwrap();
    let owner = take_over(&cluster, &b, cluster.partition()).await.unwrap();
    until("it notices", || former.failure().is_some()).await;
    assert!(owner.failure().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_take_a_shard_at_once_one_has_it() {
    let cluster = Cluster::open().await;
    let (a, b) = (cluster.process().await, cluster.process().await);
    for _ in 0..10 {
        let (first, second) =
            tokio::join!(take_over(&cluster, &a, cluster.partition()), take_over(&cluster, &b, cluster.partition()));
        let claim = cluster.claim(&a).await;
        let store = &a.shards().shard(cluster.partition()).unwrap().store;
        let epoch = store.manifest().await.unwrap().unwrap().manifest.epoch;
        assert!(first.is_ok() || second.is_ok(), "one of them at least claimed epoch {epoch} ({claim})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_taken_from_a_living_indexer_comes_back_to_it() {
    let cluster = Cluster::open().await;
    let (indexing, other, reading) = (cluster.indexing().await, cluster.process().await, cluster.process().await);
    let records = cluster.delivered("first", "zebra").await;
    reading.finds("ann", "zebra", 1).await;
    let mut taken = take_over(&cluster, &other, cluster.partition()).await.unwrap();
    let more = cluster.delivered("second", "zebra").await;
    cluster.index(&mut taken, &more[records.len()..]).await;
    drop(taken);
    cluster.delivered("third", "zebra").await;
    reading.finds("ann", "zebra", 3).await;
    assert_eq!(reading.search.documents(), 3);
    assert_eq!(indexing.find("ann", "zebra").await.unwrap().len(), 3);
    indexing.stop().await;
}
