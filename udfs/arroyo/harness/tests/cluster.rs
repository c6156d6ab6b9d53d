//! The libraries on the services of a cluster, as Arroyo's workers have them.
#![allow(clippy::unwrap_used)]

mod host;

use std::sync::Arc;
use std::time::Duration;

use host::{Running, bytes, long, text, texts};
use millrace_storage::BlobStore;
use millrace_storage::cluster::{S3Options, S3PackOptions, S3Packs, object_store};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
const PREFIX: &str = "arroyo-interface";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} says where the service is: compose/native/test sets it"))
}

/// Tells the libraries what a worker's environment tells them, and opens the bucket beside them.
async fn begin() -> Arc<dyn BlobStore> {
    let mut s3 = S3Options::new("millrace");
    s3.endpoint = Some(variable("MILLRACE_TEST_S3"));
    s3.access_key = Some(variable("MILLRACE_TEST_S3_KEY"));
    s3.secret_key = Some(millrace_storage::Secret::new(variable("MILLRACE_TEST_S3_SECRET")));
    s3.prefix = PREFIX.to_owned();
    let settings = [
        ("MILLRACE_STORAGE", "cluster".to_owned()),
        ("MILLRACE_S3_BUCKET", "millrace".to_owned()),
        ("MILLRACE_S3_PREFIX", PREFIX.to_owned()),
        ("MILLRACE_S3_ENDPOINT", variable("MILLRACE_TEST_S3")),
        ("MILLRACE_S3_ACCESS_KEY", variable("MILLRACE_TEST_S3_KEY")),
        ("MILLRACE_S3_SECRET_KEY", variable("MILLRACE_TEST_S3_SECRET")),
        ("MILLRACE_REDIS_URL", variable("MILLRACE_TEST_REDIS")),
    ];
    for (name, value) in settings {
        // SAFETY: the one test of this file sets them before it calls a library.
        unsafe { std::env::set_var(name, value) };
    }
    let store = object_store::build(&s3).unwrap();
    Arc::new(S3Packs::open(store, &s3, S3PackOptions::default()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3 and Redis: compose/native/test"]
async fn bodies_come_from_s3_and_claims_are_made_once() {
    let blobs = begin().await;
    let body = |id: u64| format!("Subject: {id}\r\n\r\n{}", "mail ".repeat(id as usize));
    let puts = (0..300).map(|id| blobs.put(body(id).into()));
    let references: Vec<_> = futures::future::join_all(puts).await.into_iter().map(|put| put.unwrap()).collect();
    let fetching = Running::start("fetch_body", 64, Duration::from_secs(300));
    for (id, reference) in references.iter().enumerate() {
        fetching.send(id as u64, vec![texts(&[Some(&reference.to_string())])]).await;
    }
    for (id, got) in fetching.results(references.len(), SOON).await {
        assert_eq!(bytes(&got), Some(body(id).into_bytes()), "body {id}");
    }

    let digest = format!("digest-{}", references[0]);
    let claiming = Running::start("first_seen", 500, Duration::from_secs(300));
    for id in 0..400 {
        let (recipient, message) = (format!("acc{} bob@millrace.test", id % 100), format!("m{}", id / 100));
        let row = [&recipient, &digest, &message].map(|word| texts(&[Some(word)]));
        claiming.send(id, row.into_iter().chain([long(Some(1_764_000_000_000_000 + id as i64))]).collect()).await;
        if id % 100 == 99 {
            // The first of each account is known before another message comes.
            for (_, got) in claiming.results(100, SOON).await {
                let value: Value = serde_json::from_str(&text(&got).unwrap()).unwrap();
                assert_eq!(value["first"], "m0", "{value}");
            }
        }
    }
}
