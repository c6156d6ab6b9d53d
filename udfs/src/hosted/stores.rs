//! The stores of a hosted stage function, opened at the first call that needs one.

use std::sync::Arc;

use millrace_storage::cluster::{Redis, RedisFirstSeen, S3PackOptions, S3Packs, object_store};
use millrace_storage::embedded::{EmbeddedPacks, PackOptions};
use millrace_storage::{BlobStore, FirstSeen};
use tokio::sync::OnceCell;

use super::services::Services;
use super::settings::{Settings, Storage};

/// Where bodies are read from.
///
/// # Errors
/// It cannot be opened now; the next call tries again.
pub(super) async fn blobs() -> Result<Arc<dyn BlobStore>, String> {
    static BLOBS: OnceCell<Arc<dyn BlobStore>> = OnceCell::const_new();
    let opened = BLOBS.get_or_try_init(|| async {
        match Settings::get()?.storage.as_ref().map_err(Clone::clone)? {
            // Reading packs needs no lock: entries never change.
            Storage::Embedded { data_dir } => {
                let packs = EmbeddedPacks::open(&data_dir.join("blobs"), PackOptions::default());
                Ok(Arc::new(packs.map_err(|error| error.to_string())?) as Arc<dyn BlobStore>)
            }
            Storage::Cluster(services) => bodies_on_s3(services).await,
        }
    });
    opened.await.cloned()
}

/// Who answers first-seen.
///
/// # Errors
/// It cannot be reached now; the next call tries again.
pub(super) async fn first_seen() -> Result<Arc<dyn FirstSeen>, String> {
    static FIRST_SEEN: OnceCell<Arc<dyn FirstSeen>> = OnceCell::const_new();
    let opened = FIRST_SEEN.get_or_try_init(|| async {
        match Settings::get()?.storage.as_ref().map_err(Clone::clone)? {
            // Embedded claims become durable with the log of the one process that holds them.
            Storage::Embedded { .. } => Err("embedded first-seen cannot be shared with a worker: \
                                             set MILLRACE_STORAGE=cluster and MILLRACE_REDIS_URL"
                .to_owned()),
            Storage::Cluster(services) => claims_in_redis(services).await,
        }
    });
    opened.await.cloned()
}

async fn bodies_on_s3(services: &Services) -> Result<Arc<dyn BlobStore>, String> {
    let store = object_store::build(&services.s3).map_err(|error| error.to_string())?;
    let packs = S3Packs::open(store, &services.s3, S3PackOptions::default()).await;
    Ok(Arc::new(packs.map_err(|error| error.to_string())?))
}

async fn claims_in_redis(services: &Services) -> Result<Arc<dyn FirstSeen>, String> {
    let redis = Redis::connect(&services.redis).await.map_err(|error| error.to_string())?;
    Ok(Arc::new(RedisFirstSeen::new(redis, &services.first_seen)))
}
