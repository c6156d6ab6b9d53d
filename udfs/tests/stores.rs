//! fetch_body and first_seen over a store that is there, away, or damaged.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use millrace_storage::BlobStore;
use millrace_udfs::Dns;
use serde_json::Value;

#[tokio::test]
async fn a_body_comes_back_and_a_missing_or_damaged_one_is_none() {
    let (stages, memory) = common::stages(Dns::Off);
    let reference = memory.put(Bytes::from_static(b"Subject: x\r\n\r\n")).await.unwrap().to_string();
    let damaged = memory.put(Bytes::from_static(b"damaged")).await.unwrap().to_string();
    assert_eq!(stages.fetch_body(&reference).await.unwrap().unwrap(), "Subject: x\r\n\r\n");
    assert_eq!(stages.fetch_body(&damaged).await, Ok(None));
    assert_eq!(stages.fetch_body("2026-11-23/01JDCM00000000000000000000.pack:0:9").await, Ok(None));
    assert_eq!(stages.fetch_body("../../etc/passwd:0:9").await, Ok(None));
}

#[tokio::test]
async fn a_store_that_is_away_is_asked_again_and_then_an_error() {
    let (stages, memory) = common::stages(Dns::Off);
    let reference = memory.put(Bytes::from_static(b"body")).await.unwrap().to_string();
    memory.failures.store(2, Ordering::Relaxed);
    assert_eq!(stages.fetch_body(&reference).await.unwrap().unwrap(), "body");
    memory.failures.store(100, Ordering::Relaxed);
    let error = stages.fetch_body(&reference).await.unwrap_err();
    assert!(error.contains("the store is away"), "{error}");
}

#[tokio::test]
async fn the_same_bytes_for_the_same_account_have_one_first() {
    let (stages, memory) = common::stages(Dns::Off);
    let first = async |recipient: &str, digest: &str, id: &str| -> Value {
        serde_json::from_str(&stages.first_seen(recipient, digest, id, 1).await.unwrap()).unwrap()
    };
    assert_eq!(first("acct1 a@example.org", "d1", "m1").await["first"], "m1");
    assert_eq!(first("acct1 a@example.org", "d1", "m1").await["first"], "m1", "asked again after a crash");
    assert_eq!(first("acct1 alias@example.org", "d1", "m2").await["first"], "m1", "another address, same account");
    assert_eq!(first("acct2 b@example.org", "d1", "m2").await["first"], "m2", "another account");
    assert_eq!(first("acct1 a@example.org", "d2", "m3").await["first"], "m3", "another mail");
    assert!(first("", "d", "m").await["error"].is_string());
    memory.failures.store(1, Ordering::Relaxed);
    let error = stages.first_seen("acct1 a@example.org", "d9", "m9", 1).await.unwrap_err();
    assert!(error.contains("the store is away"), "{error}");
}
