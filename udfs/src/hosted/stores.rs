//! The stores of a hosted stage function, opened at the first call that needs one.

use std::sync::Arc;

use millrace_storage::embedded::{EmbeddedPacks, PackOptions};
use millrace_storage::{BlobStore, FirstSeen};
use tokio::sync::OnceCell;

use super::settings::{Settings, Storage};

/// Where bodies are read from.
///
/// # Errors
/// It cannot be opened now; the next call tries again.
pub(super) async fn blobs() -> Result<Arc<dyn BlobStore>, String> {
    static BLOBS: OnceCell<Arc<dyn BlobStore>> = OnceCell::const_new();
    let opened = BLOBS.get_or_try_init(|| async {
        match &Settings::get()?.storage {
            // Reading packs needs no lock: entries never change.
            Storage::Embedded { data_dir } => {
                let packs = EmbeddedPacks::open(&data_dir.join("blobs"), PackOptions::default());
                Ok(Arc::new(packs.map_err(|error| error.to_string())?) as Arc<dyn BlobStore>)
            }
            Storage::Cluster => cluster_stores().await.map(|stores| stores.0),
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
        match Settings::get()?.storage {
            // Embedded claims become durable with the log of the one process that holds them.
            Storage::Embedded { .. } => Err("embedded first-seen cannot be shared with a worker: \
                                             set MILLRACE_STORAGE=cluster and MILLRACE_REDIS_URL"
                .to_owned()),
            Storage::Cluster => cluster_stores().await.map(|stores| stores.1),
        }
    });
    opened.await.cloned()
}

/// Bodies in S3 and first-seen in Redis, by `MILLRACE_S3_…` and `MILLRACE_REDIS_…`.
async fn cluster_stores() -> Result<(Arc<dyn BlobStore>, Arc<dyn FirstSeen>), String> {
    Err("MILLRACE_STORAGE=cluster is not known to this build".to_owned())
}
