//! The seams, whichever adapters are behind them.

use std::sync::Arc;

use crate::embedded::{DirLock, EmbeddedRevocations, EmbeddedStorage};
use crate::schemas::{SchemaAwareLog, SchemaTopic};
use crate::{BlobStore, FirstSeen, HotStore, Log, Revocations};

/// What a node keeps its mail in.
#[derive(Clone)]
pub struct Storage {
    pub log: Arc<dyn Log>,
    pub blobs: Arc<dyn BlobStore>,
    pub hot: Arc<dyn HotStore>,
    pub first_seen: Arc<dyn FirstSeen>,
    pub revocations: Arc<dyn Revocations>,
    /// What others have registered; records of `log` come with theirs known.
    pub schemas: Arc<SchemaTopic>,
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
        let schemas = Arc::new(SchemaTopic::new(log.clone()));
        let log = Arc::new(SchemaAwareLog::new(log, schemas.clone()));
        let revocations = Arc::new(EmbeddedRevocations::default());
        Self { log, blobs, hot, first_seen, revocations, schemas, _lock: None }
    }

    /// Remembers ended sessions where all processes that serve the API do; without it, this process alone does.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Arc<dyn Revocations>) -> Self {
        self.revocations = revocations;
        self
    }
}

impl From<EmbeddedStorage> for Storage {
    fn from(embedded: EmbeddedStorage) -> Self {
        let EmbeddedStorage { log, blobs, hot, first_seen, lock } = embedded;
        Self { _lock: Some(lock), ..Self::shared(log, blobs, hot, first_seen) }
    }
}
