//! The adapters on Redis pass the suites that every adapter must pass: on one server, and on a cluster of three.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use millrace_storage::cluster::{
    Redis, RedisFirstSeen, RedisFirstSeenOptions, RedisHot, RedisHotOptions, RedisOptions, RedisRevocations,
};
use millrace_storage::conformance::{self, Place};
use millrace_storage::{FirstSeen, HotStore, Revocations};
use support::redis_server::RedisCluster;
use support::{service, unique};

struct OnRedis(RedisOptions);

impl OnRedis {
    fn new(url: String) -> Self {
        Self(RedisOptions { prefix: unique("test"), ..RedisOptions::new(url) })
    }

    async fn connect(&self) -> Arc<Redis> {
        Redis::connect(&self.0).await.unwrap()
    }
}

#[async_trait]
impl Place<dyn HotStore> for OnRedis {
    async fn open(&self) -> Arc<dyn HotStore> {
        Arc::new(RedisHot::open(self.connect().await, RedisHotOptions::default()).await.unwrap())
    }
}

#[async_trait]
impl Place<dyn FirstSeen> for OnRedis {
    async fn open(&self) -> Arc<dyn FirstSeen> {
        let options = RedisFirstSeenOptions { window: conformance::first_seen::WINDOW, ..Default::default() };
        let seen = RedisFirstSeen::new(self.connect().await, &options);
        seen.report_durability().await;
        Arc::new(seen)
    }
}

#[async_trait]
impl Place<dyn Revocations> for OnRedis {
    async fn open(&self) -> Arc<dyn Revocations> {
        Arc::new(RedisRevocations::new(self.connect().await))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: compose/native/test"]
async fn revocations_conform() {
    conformance::revocations::all(&OnRedis::new(service("MILLRACE_TEST_REDIS"))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: compose/native/test"]
async fn the_hot_store_conforms() {
    conformance::hot::all(&OnRedis::new(service("MILLRACE_TEST_REDIS"))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: compose/native/test"]
async fn first_seen_conforms() {
    conformance::first_seen::all(&OnRedis::new(service("MILLRACE_TEST_REDIS"))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn all_conform_on_a_cluster() {
    let cluster = RedisCluster::start();
    let place = OnRedis::new(cluster.url());
    conformance::hot::all(&place).await;
    conformance::first_seen::all(&place).await;
    conformance::revocations::all(&place).await;
}
