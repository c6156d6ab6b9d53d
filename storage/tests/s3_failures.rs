//! S3 that fails, is slow, or does what it was asked and does not say so: nothing half is stored, and a put is right or
//! unavailable.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::object_store::{ObjectStore, ObjectStoreExt};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use millrace_storage::cluster::{S3Options, S3PackOptions, S3Packs, object_store};
use millrace_storage::{BlobError, BlobStore, BodyRef, Secret};
use support::proxy::{Fault, Proxy};
use support::{service, unique};

fn s3(endpoint: String) -> S3Options {
    S3Options {
        endpoint: Some(endpoint),
        prefix: unique("test"),
        access_key: Some(service("MILLRACE_TEST_S3_KEY")),
        secret_key: Some(Secret::new(service("MILLRACE_TEST_S3_SECRET"))),
        ..S3Options::new("millrace")
    }
}

fn options() -> S3PackOptions {
    S3PackOptions {
        attempt_timeout: Duration::from_millis(300),
        put_timeout: Duration::from_secs(4),
        get_timeout: Duration::from_secs(4),
        cache_bytes: 0,
        ..S3PackOptions::default()
    }
}

struct World {
    proxy: Proxy,
    store: Arc<dyn ObjectStore>,
    packs: Arc<S3Packs>,
    /// Below which all is.
    root: ::object_store::path::Path,
}

impl World {
    async fn open(options: S3PackOptions) -> Self {
        let proxy = Proxy::before(&service("MILLRACE_TEST_S3")).await;
        let s3 = s3(proxy.url());
        let store = object_store::build(&s3).unwrap();
        let packs = Arc::new(S3Packs::open(store.clone(), &s3, options).await.unwrap());
        Self { proxy, store, packs, root: s3.prefix.into() }
    }

    async fn objects(&self) -> usize {
        self.store.list(Some(&self.root)).count().await
    }

    async fn check(&self, reference: &BodyRef, body: &Bytes) {
        assert_eq!(&self.packs.get(reference).await.unwrap(), body);
    }
}

fn body(n: u32) -> Bytes {
    format!("Subject: {n}\r\n\r\n{}", format!("line {n}\r\n").repeat(100)).into()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Bytes {
    let mut state = 7_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn a_put_outlasts_errors_and_broken_connections() {
    let world = World::open(options()).await;
    for (n, fault) in [Fault::Status(500), Fault::Status(503), Fault::Reset, Fault::Hang].into_iter().enumerate() {
        world.proxy.next("PUT", fault);
        world.proxy.next("PUT", fault);
        let body = body(n as u32);
        let reference = world.packs.put(body.clone()).await.unwrap();
        assert!(world.proxy.is_through());
        world.check(&reference, &body).await;
        assert_eq!(world.objects().await, n + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn a_pack_that_was_stored_without_a_word_counts_as_stored() {
    let world = World::open(options()).await;
    for (n, fault) in [Fault::LoseAnswer, Fault::Delay(Duration::from_millis(600))].into_iter().enumerate() {
        world.proxy.next("PUT", fault);
        let body = body(n as u32);
        let reference = world.packs.put(body.clone()).await.unwrap();
        assert!(world.proxy.is_through());
        world.check(&reference, &body).await;
        assert_eq!(world.objects().await, n + 1, "it was not stored twice");
    }
    assert!(world.proxy.count("HEAD") >= 1, "the object was asked after");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn without_s3_a_put_is_unavailable_in_time_and_works_again_after() {
    for fault in [Fault::Status(503), Fault::Reset, Fault::Hang, Fault::LoseAnswer] {
        let world = World::open(S3PackOptions { put_timeout: Duration::from_secs(3), ..options() }).await;
        let before = world.packs.put(body(0)).await.unwrap();
        // HEAD as well, so that nobody can find out.
        world.proxy.always("", fault);
        let begun = Instant::now();
        let refused = world.packs.put(body(1)).await;
        assert!(matches!(refused, Err(BlobError::Unavailable(_))), "{fault:?}: {refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}: {:?}", begun.elapsed());
        world.proxy.heal();
        let after = world.packs.put(body(2)).await.unwrap();
        world.check(&before, &body(0)).await;
        world.check(&after, &body(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn what_waits_is_bounded() {
    let options = S3PackOptions {
        put_timeout: Duration::from_secs(3),
        max_waiting_bytes: 10 * 1024,
        max_uploads: 2,
        ..options()
    };
    let world = World::open(options).await;
    world.proxy.always("PUT", Fault::Hang);
    let begun = Instant::now();
    let puts: Vec<_> = (0..50)
        .map(|n| {
            let packs = world.packs.clone();
            tokio::spawn(async move { packs.put(body(n)).await })
        })
        .collect();
    for put in puts {
        assert!(matches!(put.await.unwrap(), Err(BlobError::Unavailable(_))));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    world.proxy.heal();
    let reference = world.packs.put(body(60)).await.unwrap();
    world.check(&reference, &body(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn a_get_outlasts_errors_and_never_serves_what_is_damaged() {
    let world = World::open(options()).await;
    let stored = noise(100_000);
    let reference = world.packs.put(stored.clone()).await.unwrap();
    let faults =
        [Fault::Status(500), Fault::Reset, Fault::Hang, Fault::Delay(Duration::from_millis(400)), Fault::CutAnswer];
    for fault in faults {
        world.proxy.next("GET", fault);
        world.check(&reference, &stored).await;
        assert!(world.proxy.is_through());
    }
    world.proxy.always("GET", Fault::ChangeAnswer);
    let got = world.packs.get(&reference).await;
    assert!(matches!(got, Err(BlobError::Damaged { .. })), "{got:?}");
    world.proxy.always("", Fault::NoBucket);
    let got = world.packs.get(&reference).await;
    assert!(matches!(got, Err(BlobError::Unavailable(_))), "not a body that does not exist: {got:?}");
    world.proxy.always("", Fault::Status(503));
    let begun = Instant::now();
    let got = world.packs.get(&reference).await;
    assert!(matches!(got, Err(BlobError::Unavailable(_))), "{got:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    world.proxy.heal();
    world.check(&reference, &stored).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn a_large_body_goes_up_in_parts() {
    let options = S3PackOptions {
        attempt_timeout: Duration::from_secs(10),
        put_timeout: Duration::from_secs(60),
        get_timeout: Duration::from_secs(60),
        ..options()
    };
    let world = World::open(options).await;
    let large = noise(20_000_000);
    // A part that fails, a part whose answer is lost, and a last word that is lost.
    world.proxy.next("PUT", Fault::Status(500));
    world.proxy.next("PUT", Fault::LoseAnswer);
    world.proxy.next("POST", Fault::Status(500));
    let reference = world.packs.put(large.clone()).await.unwrap();
    assert!(world.proxy.is_through());
    assert!(world.packs.get(&reference).await.unwrap() == large);
    assert_eq!(world.objects().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn parts_that_were_joined_without_a_word_count_as_stored() {
    let options = S3PackOptions { multipart_bytes: 1000, attempt_timeout: Duration::from_secs(5), ..options() };
    let world = World::open(options).await;
    let stored = noise(50_000);
    for n in 0..2 {
        // The first POST begins the upload.
        world.proxy.next("POST /millrace/test", Fault::Delay(Duration::from_millis(1)));
        world.proxy.next("POST /millrace/test", Fault::LoseAnswer);
        let reference = world.packs.put(stored.clone()).await.unwrap();
        assert!(world.proxy.is_through());
        assert!(world.packs.get(&reference).await.unwrap() == stored);
        assert!(world.objects().await > n, "it is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn many_bodies_share_a_pack() {
    let world = World::open(S3PackOptions::default()).await;
    let puts: Vec<_> = (0..500)
        .map(|n| {
            let packs = world.packs.clone();
            tokio::spawn(async move { (packs.put(body(n)).await.unwrap(), n) })
        })
        .collect();
    let mut references = Vec::new();
    for put in puts {
        references.push(put.await.unwrap());
    }
    assert!(world.objects().await < 50, "{} packs for 500 bodies", world.objects().await);
    for (reference, n) in references {
        world.check(&reference, &body(n)).await;
    }
    let names: Vec<_> = world.store.list(Some(&world.root)).try_collect().await.unwrap();
    for object in names {
        let pack = world.store.get(&object.location).await.unwrap().bytes().await.unwrap();
        assert!(pack.starts_with(b"MILLPACK"), "{} is a pack from its first byte", object.location);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn whatever_happens_a_put_is_right_or_unavailable() {
    let world = World::open(options()).await;
    let faults = [
        Fault::Status(500),
        Fault::LoseAnswer,
        Fault::Reset,
        Fault::Delay(Duration::from_millis(500)),
        Fault::Hang,
        Fault::CutAnswer,
        Fault::Status(409),
    ];
    for (n, fault) in faults.into_iter().cycle().take(70).enumerate() {
        world.proxy.next(if n % 3 == 0 { "HEAD" } else { "PUT" }, fault);
    }
    let puts: Vec<_> = (0..200)
        .map(|n| {
            let packs = world.packs.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(n) * 15)).await;
                (packs.put(body(n)).await, n)
            })
        })
        .collect();
    let mut stored = Vec::new();
    for put in puts {
        match put.await.unwrap() {
            (Ok(reference), n) => stored.push((reference, n)),
            (Err(BlobError::Unavailable(_)), _) => {}
            (Err(error), _) => panic!("{error}"),
        }
    }
    world.proxy.heal();
    assert!(stored.len() > 100, "most are stored: {}", stored.len());
    for (reference, n) in stored {
        world.check(&reference, &body(n)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn a_bucket_that_is_not_there_is_no_store_without_bodies() {
    let s3 = S3Options { bucket: unique("nowhere"), ..s3(service("MILLRACE_TEST_S3")) };
    let store = object_store::build(&s3).unwrap();
    let refused = S3Packs::open(store, &s3, options()).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("check s3.endpoint, s3.region and s3.bucket"), "{refused}");
}
