//! [`BlobStore`].

use std::collections::HashSet;

use bytes::Bytes;

use super::Place;
use crate::blob::{BlobError, BlobStore, BodyRef};

pub async fn all(place: &dyn Place<dyn BlobStore>) {
    bodies_of_every_size_come_back(place).await;
    concurrent_puts_get_places_of_their_own(place).await;
    bodies_are_there_after_a_restart(place).await;
    a_pack_that_does_not_exist_is_not_found(place).await;
    a_wrong_reference_is_never_served(place).await;
}

/// Bytes that do not compress, the same for the same seed (xorshift).
fn noise(len: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn text(len: usize) -> Bytes {
    b"Received: from a.example by b.example; ".iter().copied().cycle().take(len).collect()
}

async fn put(store: &dyn BlobStore, body: &Bytes) -> BodyRef {
    store.put(body.clone()).await.expect("a put to a healthy store")
}

pub async fn bodies_of_every_size_come_back(place: &dyn Place<dyn BlobStore>) {
    let store = place.open().await;
    let sizes = [0, 1, 127, 128, 4096, 16 * 1024, 16 * 1024 + 1, 100_000, 3_000_000];
    for body in sizes.into_iter().flat_map(|len| [text(len), noise(len, len as u64)]) {
        let reference = put(&*store, &body).await;
        assert_eq!(reference.to_string().parse(), Ok(reference.clone()), "a reference has its form");
        assert!(store.get(&reference).await.expect("a get") == body, "a body of {} bytes differs", body.len());
    }
}

pub async fn concurrent_puts_get_places_of_their_own(place: &dyn Place<dyn BlobStore>) {
    let store = place.open().await;
    let writers = (0..100_u64).map(|seed| {
        let store = store.clone();
        tokio::spawn(async move {
            let body = noise(2000, seed);
            (put(&*store, &body).await, body)
        })
    });
    let mut references = HashSet::new();
    for writer in writers.collect::<Vec<_>>() {
        let (reference, body) = writer.await.expect("a writer");
        assert_eq!(store.get(&reference).await.expect("a get"), body);
        references.insert(reference);
    }
    assert_eq!(references.len(), 100);
}

pub async fn bodies_are_there_after_a_restart(place: &dyn Place<dyn BlobStore>) {
    let old = put(&*place.open().await, &text(5000)).await;
    let store = place.open().await;
    let new = put(&*store, &text(6000)).await;
    assert_eq!(store.get(&old).await.expect("a get"), text(5000));
    assert_eq!(store.get(&new).await.expect("a get"), text(6000));
}

pub async fn a_pack_that_does_not_exist_is_not_found(place: &dyn Place<dyn BlobStore>) {
    let store = place.open().await;
    for pack in ["2026-01-01/01ARZ3NDEKTSV4RRFFQ69G5FAV.pack", "../../../etc/passwd", ""] {
        let reference = BodyRef { pack: pack.to_owned(), offset: 16, length: 100 };
        let got = store.get(&reference).await;
        assert!(matches!(&got, Err(BlobError::NotFound(missing)) if *missing == reference), "{pack}: {got:?}");
    }
}

pub async fn a_wrong_reference_is_never_served(place: &dyn Place<dyn BlobStore>) {
    let store = place.open().await;
    let reference = put(&*store, &noise(3000, 7)).await;
    put(&*store, &noise(3000, 8)).await;
    let wrong = [
        BodyRef { offset: reference.offset + 1, ..reference.clone() },
        BodyRef { offset: reference.offset.saturating_sub(1), ..reference.clone() },
        BodyRef { length: reference.length - 1, ..reference.clone() },
        BodyRef { length: reference.length + 1, ..reference.clone() },
        BodyRef { length: 0, ..reference.clone() },
        BodyRef { offset: 1 << 40, ..reference.clone() },
        BodyRef { offset: u64::MAX, length: u64::MAX, ..reference.clone() },
    ];
    for reference in wrong {
        let got = store.get(&reference).await;
        assert!(matches!(got, Err(BlobError::Damaged { .. } | BlobError::NotFound(_))), "{reference}: {got:?}");
    }
}
