//! A new object, put until it is there.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, Result, WriteMultipart};

use crate::backoff::Backoff;

const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// For one attempt, whatever the store's own client does within it.
const TIMEOUT: Duration = Duration::from_secs(90);
/// Larger objects go in parts, of which one that fails costs less than the whole.
const PART_BYTES: usize = 16 << 20;
const MAX_SINGLE_BYTES: usize = 64 << 20;
const CONCURRENT_PARTS: usize = 4;

/// Puts an object that must not be there yet. An answer can get lost on its way: when the object is there after all and
/// is the same, it is ours.
pub(super) async fn put_new(store: &dyn ObjectStore, key: &Path, chunks: Vec<Bytes>) -> Result<()> {
    let payload: PutPayload = chunks.into_iter().collect();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut attempt = 1;
    loop {
        let error = match bounded(put(store, key, &payload)).await {
            Ok(()) => return Ok(()),
            Err(Error::AlreadyExists { path, source }) => match is_same(store, key, &payload).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Error::AlreadyExists { path, source }),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if attempt == ATTEMPTS || is_final(&error) {
            return Err(error);
        }
        let pause = backoff.pause();
        tracing::warn!(%key, attempt, %error, pause_ms = pause.as_millis(), "a file of a table is put again");
        metrics::counter!("millrace_tables_put_retries_total").increment(1);
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

async fn put(store: &dyn ObjectStore, key: &Path, payload: &PutPayload) -> Result<()> {
    if payload.content_length() > MAX_SINGLE_BYTES {
        return put_parts(store, key, payload).await;
    }
    match store.put_opts(key, payload.clone(), PutMode::Create.into()).await {
        // Names are unique, so that a store without conditions does as well.
        Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
            store.put(key, payload.clone()).await.map(|_| ())
        }
        outcome => outcome.map(|_| ()),
    }
}

async fn put_parts(store: &dyn ObjectStore, key: &Path, payload: &PutPayload) -> Result<()> {
    let mut parts = WriteMultipart::new_with_chunk_size(store.put_multipart(key).await?, PART_BYTES);
    for chunk in payload {
        for piece in chunk.chunks(PART_BYTES) {
            if let Err(error) = parts.wait_for_capacity(CONCURRENT_PARTS).await {
                // What the store holds of it costs space until then; its own rules take away what this cannot.
                let _ = parts.abort().await;
                return Err(error);
            }
            parts.put(chunk.slice_ref(piece));
        }
    }
    parts.finish().await.map(|_| ())
}

async fn is_same(store: &dyn ObjectStore, key: &Path, payload: &PutPayload) -> Result<bool> {
    let there = bounded(async { store.get(key).await?.bytes().await }).await?;
    let is_same_length = there.len() == payload.content_length();
    Ok(is_same_length && payload.iter().flatten().eq(there.iter()))
}

async fn bounded<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    let timeout = |_| Error::Generic { store: "S3", source: format!("no answer in {} s", TIMEOUT.as_secs()).into() };
    tokio::time::timeout(TIMEOUT, call).await.map_err(timeout)?
}

/// Whether trying again is of no use.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidPath { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn what_is_there_already_counts_as_put_when_it_is_the_same() {
        let (store, key) = (InMemory::new(), Path::from("a"));
        let chunks = |texts: &[&'static str]| texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
        put_new(&store, &key, chunks(&["one ", "two"])).await.unwrap();
        put_new(&store, &key, chunks(&["one", " two"])).await.unwrap();
        assert!(put_new(&store, &key, chunks(&["one tw0"])).await.is_err());
        assert!(put_new(&store, &key, chunks(&["one"])).await.is_err());
    }

    #[tokio::test]
    async fn large_objects_go_in_parts() {
        let (store, key) = (InMemory::new(), Path::from("a"));
        let chunk: Bytes = (0..MAX_SINGLE_BYTES + 5).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
        put_new(&store, &key, vec![chunk.clone(), chunk.slice(..10)]).await.unwrap();
        let there = store.get(&key).await.unwrap().bytes().await.unwrap();
        assert_eq!(there.len(), chunk.len() + 10);
        assert!(there.starts_with(&chunk) && there.ends_with(&chunk[..10]));
    }
}
