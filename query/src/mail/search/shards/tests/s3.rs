//! Shards in a real object store, where replacing a manifest is a conditional request over the network.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;

use super::faults::Faults;
use super::{Cluster, options, take_over};
use crate::mail::testing::World;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; see compose/native/test"))
}

/// Over S3, in a folder of its own each time.
async fn cluster() -> Cluster {
    let store = AmazonS3Builder::new()
        .with_endpoint(variable("MILLRACE_TEST_S3"))
        .with_access_key_id(variable("MILLRACE_TEST_S3_KEY"))
        .with_secret_access_key(variable("MILLRACE_TEST_S3_SECRET"))
        .with_bucket_name("millrace")
        .with_region("us-east-1")
        .with_allow_http(true)
        .build()
        .unwrap();
    let folder = format!("search-test/{}", uuid::Uuid::now_v7());
    let store = object_store::prefix::PrefixStore::new(store, folder);
    Cluster { world: World::open().await, faults: Faults::over(Arc::new(store)) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn mail_indexed_by_one_is_found_by_another() {
    let cluster = cluster().await;
    let (first, reading) = (cluster.indexing().await, cluster.process().await);
    let mut longest = Duration::ZERO;
    for n in 0..20 {
        cluster.deliver("ann", &format!("e{n}"), &format!("word{n}")).await;
        longest = longest.max(reading.finds("ann", &format!("word{n}"), 1).await);
    }
    eprintln!("found after at most {longest:?}, the first included");
    let second = cluster.indexing().await;
    first.kill().await;
    cluster.deliver("ann", "later", "later").await;
    reading.finds("ann", "later", 1).await;
    reading.finds("ann", "same", 21).await;
    assert_eq!(reading.search.documents(), 21);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn a_former_owner_publishes_nothing() {
    let cluster = cluster().await;
    let (a, b) = (cluster.process().await, cluster.process().await);
    let partition = millrace_schemas::topic::partition_of("ann", cluster.partitions());
    let mut former = take_over(&cluster, &a, partition).await.unwrap();
    let mut owner = take_over(&cluster, &b, partition).await.unwrap();
    cluster.deliver("ann", "first", "zebra").await;
    let topic = millrace_schemas::Topic::MailboxChanges;
    let records = cluster.world.log.read(topic, partition, 0, 100, 1 << 20).await.unwrap();
    for owned in [&mut former, &mut owner] {
        owned.take(&records, &cluster.inputs()).await.unwrap();
        owned.commit().await.unwrap();
    }
    assert!(!former.is_published(Duration::from_secs(20)).await);
    assert!(former.failure().is_some());
    assert!(owner.is_published(Duration::from_secs(20)).await);
    let reading = super::Process::open(cluster.faults.clone(), cluster.partitions(), options()).await;
    assert_eq!(reading.find("ann", "zebra").await.unwrap(), ["first"]);
}

/// A merged segment of a large shard is more than one request takes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn a_large_object_is_stored_in_parts() {
    let cluster = cluster().await;
    let process = cluster.process().await;
    let store = &process.shards().shard(0).unwrap().store;
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(dir.path().join("large.idx"), &bytes).unwrap();
    let file = dir.path().join("object");
    let name = "00000001-large".to_owned();
    let (object, _) = super::super::bundle::write(dir.path(), &["large.idx".into()], &file, name).unwrap();
    store.upload(&object, &file).await.unwrap();
    let back = dir.path().join("back");
    store.download(&object, &back).await.unwrap();
    assert_eq!(std::fs::read(file).unwrap(), std::fs::read(back).unwrap());
    store.delete(&object.name).await.unwrap();
}
