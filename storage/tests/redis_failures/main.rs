//! Landers that lost a partition, and a Redis that is gone, frozen, full, empty or back in an older state.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_storage::cluster::{
    Redis, RedisFirstSeen, RedisFirstSeenOptions, RedisHot, RedisHotOptions, RedisOptions,
};
use millrace_storage::hot::HotError;
use millrace_storage::{HotRow, HotStore};
use support::redis_server::RedisServer;

mod cluster;
mod fencing;
mod outages;
mod rows;
#[path = "../support/mod.rs"]
mod support;
mod watching;

const PARTITION: u32 = 1;

fn options(server: &RedisServer) -> RedisOptions {
    RedisOptions { command_timeout: Duration::from_secs(10), ..RedisOptions::new(server.url()) }
}

async fn open(options: &RedisOptions) -> RedisHot {
    open_with(options, RedisHotOptions::default()).await
}

async fn open_with(options: &RedisOptions, hot: RedisHotOptions) -> RedisHot {
    RedisHot::open(Redis::connect(options).await.unwrap(), hot).await.unwrap()
}

fn row(account_id: &str, seq: u64) -> HotRow {
    let value = Bytes::from(format!("\0\u{1}{account_id} {seq}\n"));
    HotRow { account_id: account_id.into(), email_id: format!("e{}", seq % 5).into(), seq, value }
}

fn rows(account_id: &str, seqs: std::ops::Range<u64>) -> Vec<HotRow> {
    seqs.map(|seq| row(account_id, seq)).collect()
}

fn is_fenced<T: std::fmt::Debug>(outcome: &Result<T, HotError>) -> bool {
    matches!(outcome, Err(HotError::Fenced(PARTITION)))
}

fn is_unavailable<T: std::fmt::Debug>(outcome: &Result<T, HotError>) -> bool {
    matches!(outcome, Err(HotError::Unavailable(_)))
}

/// Waits until `is_so`.
async fn until(is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
