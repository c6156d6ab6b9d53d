//! The four seams, whichever adapters are behind them.

use std::sync::Arc;

use crate::embedded::{DirLock, EmbeddedStorage};
use crate::{BlobStore, FirstSeen, HotStore, Log};

/// What a node keeps its mail in.
#[derive(Clone)]
pub struct Storage {
    pub log: Arc<dyn Log>,
    pub blobs: Arc<dyn BlobStore>,
    pub hot: Arc<dyn HotStore>,
    pub first_seen: Arc<dyn FirstSeen>,
    /// Keeps other processes out of a data directory; a cluster has none.
    _lock: Option<Arc<DirLock>>,
}

impl Storage {
    /// Over services that other processes use as well.
    pub fn shared(
        log: Arc<dyn Log>,
        blobs: Arc<dyn BlobStore>,
        hot: Arc<dyn HotStore>,
        first_seen: Arc<dyn FirstSeen>,
    ) -> Self {
        Self { log, blobs, hot, first_seen, _lock: None }
    }
}

impl From<EmbeddedStorage> for Storage {
    fn from(embedded: EmbeddedStorage) -> Self {
        let EmbeddedStorage { log, blobs, hot, first_seen, lock } = embedded;
        Self { log, blobs, hot, first_seen, _lock: Some(lock) }
    }
}
