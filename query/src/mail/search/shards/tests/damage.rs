//! Objects that are not what they were, and shards made again from the tables.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use millrace_schemas::topic::partition_of;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{Cluster, until};
use crate::mail::search::SearchError;
use crate::mail::testing::{World, patch};

impl Cluster {
    /// With mail that has landed and is searched.
    async fn landed(emails: usize) -> Self {
        let mut cluster = Self::open().await;
        let (indexing, reading) = (cluster.indexing().await, cluster.process().await);
        cluster.world.start(World::slow());
        let mut last = Vec::new();
        for n in 0..emails {
            last = cluster.world.deliver("ann", &format!("e{n}"), &super::mail("zebra")).await;
            cluster.deliver(&format!("user{n}"), "e", "zebra").await;
        }
        reading.finds("ann", "zebra", emails).await;
        for n in 0..emails {
            reading.finds(&format!("user{n}"), "zebra", 1).await;
        }
        cluster.world.settle(&last).await;
        indexing.stop().await;
        cluster.world.stop().await;
        cluster
    }

    async fn spoil(&self, change: impl Fn(&mut Vec<u8>)) {
        let partition = partition_of("ann", self.partitions());
        for path in self.faults.objects(partition).await {
            let mut bytes = self.faults.inner().get(&path).await.unwrap().bytes().await.unwrap().to_vec();
            change(&mut bytes);
            self.faults.inner().put(&path, bytes.into()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_objects_are_never_searched_and_are_made_again_from_the_tables() {
    for damage in [|bytes: &mut Vec<u8>| bytes[40] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1)] {
        let cluster = Cluster::landed(6).await;
        let opened = cluster.process().await;
        opened.finds("ann", "zebra", 6).await;
        cluster.spoil(damage).await;
        assert_eq!(opened.find("ann", "zebra").await.unwrap().len(), 6, "what was fetched was whole");
        let reading = cluster.process().await;
        let error = reading.find("ann", "zebra").await.unwrap_err();
        assert!(matches!(&error, SearchError::Unavailable { reason, .. } if reason.contains("damaged")), "{error}");
        let indexing = cluster.indexing().await;
        reading.finds("ann", "zebra", 6).await;
        cluster.deliver("ann", "later", "zebra").await;
        reading.finds("ann", "zebra", 7).await;
        assert_eq!(reading.search.documents(), 7 + shared_accounts(&cluster, 6));
        indexing.stop().await;
    }
}

/// How many of the other accounts are in the partition of `ann`.
fn shared_accounts(cluster: &Cluster, accounts: usize) -> u64 {
    let of = |account: &str| partition_of(account, cluster.partitions());
    (0..accounts).filter(|n| of(&format!("user{n}")) == of("ann")).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_asked_for_anywhere_and_done_by_the_owners() {
    let cluster = Cluster::landed(8).await;
    let indexing = cluster.indexing().await;
    let (asking, reading) = (cluster.process().await, cluster.process().await);
    cluster.world.append(vec![patch("ann", "e3", r#"{"is_destroyed":true}"#)]).await;
    cluster.deliver("ann", "unlanded", "zebra").await;
    reading.finds("ann", "unlanded", 0).await;
    reading.finds("ann", "zebra", 8).await;
    let World { tables, blobs, log, .. } = &cluster.world;
    let mut steps = Vec::new();
    let watched = async {
        let mut fewest = usize::MAX;
        for _ in 0..100 {
            fewest = fewest.min(reading.find("ann", "zebra").await.unwrap().len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fewest
    };
    let rebuilt = asking.search.rebuild(tables, blobs.as_ref(), log.as_ref(), |done| steps.push(done));
    let (rebuilt, fewest) = tokio::join!(rebuilt, watched);
    let rebuilt = rebuilt.unwrap();
    assert_eq!((rebuilt.total, rebuilt.read, rebuilt.indexed), (16, 16, 16));
    assert!(fewest >= 7, "searches were answered from the old shard, not from {fewest}");
    assert_eq!(steps.last(), Some(&rebuilt));
    // What had not landed comes again from the log.
    reading.finds("ann", "zebra", 8).await;
    for n in 0..8 {
        reading.finds(&format!("user{n}"), "zebra", 1).await;
    }
    assert_eq!(reading.search.documents(), 16);
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_another_version_is_made_again() {
    let cluster = Cluster::landed(3).await;
    let partition = partition_of("ann", cluster.partitions());
    let path = Path::from(format!("test/search/{partition}/manifest.json"));
    let bytes = cluster.faults.inner().get(&path).await.unwrap().bytes().await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap().replace("attachments", "appendices");
    cluster.faults.inner().put(&path, text.into()).await.unwrap();
    let reading = cluster.process().await;
    let error = reading.find("ann", "zebra").await.unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    let indexing = cluster.indexing().await;
    reading.finds("ann", "zebra", 3).await;
    indexing.stop().await;
}

impl Cluster {
    async fn put_manifest(&self, text: &str) {
        let path = Path::from(format!("test/search/{}/manifest.json", partition_of("ann", self.partitions())));
        self.faults.inner().put(&path, text.to_owned().into()).await.unwrap();
    }

    async fn epoch(&self) -> u64 {
        let process = self.process().await;
        let store = &process.shards().shard(partition_of("ann", self.partitions())).unwrap().store;
        store.manifest().await.unwrap().unwrap().manifest.epoch
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_read_is_replaced_and_the_shard_made_again() {
    for manifest in ["", "{", r#"{"format":1,"epoch":90}"#, r#"{"format":0}"#, "[]"] {
        let cluster = Cluster::landed(3).await;
        let before = cluster.epoch().await;
        cluster.put_manifest(manifest).await;
        let reading = cluster.process().await;
        let error = reading.find("ann", "zebra").await.unwrap_err();
        assert!(error.to_string().contains("rebuild search"), "{error}");
        let indexing = cluster.indexing().await;
        reading.finds("ann", "zebra", 3).await;
        cluster.deliver("ann", "later", "zebra").await;
        reading.finds("ann", "zebra", 4).await;
        assert_eq!(reading.search.documents(), 4 + shared_accounts(&cluster, 3));
        assert!(cluster.epoch().await > before.max(if manifest.contains("90") { 90 } else { 0 }));
        indexing.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_positions_cannot_be_read_is_replaced_too() {
    let cluster = Cluster::landed(3).await;
    let path = Path::from(format!("test/search/{}/manifest.json", partition_of("ann", cluster.partitions())));
    let bytes = cluster.faults.inner().get(&path).await.unwrap().bytes().await.unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    manifest["meta"]["payload"] = "nonsense".into();
    cluster.put_manifest(&manifest.to_string()).await;
    let (indexing, reading) = (cluster.indexing().await, cluster.process().await);
    reading.finds("ann", "zebra", 3).await;
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_damaged_under_its_owner_is_made_again() {
    let cluster = Cluster::landed(3).await;
    let (indexing, reading) = (cluster.indexing().await, cluster.process().await);
    reading.finds("ann", "zebra", 3).await;
    cluster.put_manifest("{").await;
    cluster.deliver("ann", "later", "zebra").await;
    reading.finds("ann", "zebra", 4).await;
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_newer_version_is_replaced_only_when_somebody_asks() {
    let cluster = Cluster::landed(3).await;
    let newer = r#"{"format":2,"epoch":40,"news":true}"#;
    cluster.put_manifest(newer).await;
    let indexing = cluster.indexing().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let path = Path::from(format!("test/search/{}/manifest.json", partition_of("ann", cluster.partitions())));
    assert_eq!(cluster.faults.inner().get(&path).await.unwrap().bytes().await.unwrap(), newer);
    let reading = cluster.process().await;
    let error = reading.find("ann", "zebra").await.unwrap_err();
    assert!(error.to_string().contains("format 2"), "{error}");

    let World { tables, blobs, log, .. } = &cluster.world;
    let rebuilt = reading.search.rebuild(tables, blobs.as_ref(), log.as_ref(), |_| {}).await.unwrap();
    assert_eq!(rebuilt.indexed, 6);
    reading.finds("ann", "zebra", 3).await;
    assert!(cluster.epoch().await > 40);
    indexing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_indexer_search_says_so() {
    let cluster = Cluster::open().await;
    let reading = cluster.process().await;
    let error = reading.find("ann", "zebra").await.unwrap_err();
    assert!(error.to_string().contains("see that an indexer runs"), "{error}");
    let indexing = cluster.indexing().await;
    until("all shards are owned", || indexing.owned().len() == cluster.partitions() as usize).await;
    reading.finds("ann", "zebra", 0).await;
    indexing.stop().await;
}
