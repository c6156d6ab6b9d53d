//! The embedded adapters pass the suites that every adapter must pass.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use millrace_storage::conformance::{self, Place};
use millrace_storage::embedded::{
    EmbeddedFirstSeen, EmbeddedHot, EmbeddedLog, EmbeddedPacks, EmbeddedRevocations, FirstSeenOptions, HotOptions,
    LogOptions, PackOptions,
};
use millrace_storage::first_seen::FirstSeenError;
use millrace_storage::schemas::{SchemaAwareLog, SchemaTopic};
use millrace_storage::{BlobStore, Claim, FirstSeen, HotStore, Log, Revocations};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[async_trait]
impl Place<dyn Log> for Dir {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(EmbeddedLog::open(self.path(), LogOptions::default()).unwrap())
    }
}

#[async_trait]
impl Place<dyn BlobStore> for Dir {
    async fn open(&self) -> Arc<dyn BlobStore> {
        Arc::new(EmbeddedPacks::open(self.path(), PackOptions::default()).unwrap())
    }
}

#[async_trait]
impl Place<dyn HotStore> for Dir {
    async fn open(&self) -> Arc<dyn HotStore> {
        Arc::new(EmbeddedHot::new(HotOptions::default()))
    }
}

/// First-seen with the log that it lives in.
struct WithLog {
    seen: EmbeddedFirstSeen,
    _log: EmbeddedLog,
}

#[async_trait]
impl FirstSeen for WithLog {
    async fn claim(&self, key: [u8; 32], claimant: &str, at_us: i64) -> Result<Claim, FirstSeenError> {
        self.seen.claim(key, claimant, at_us).await
    }

    async fn expire(&self, now_us: i64) -> Result<u64, FirstSeenError> {
        self.seen.expire(now_us).await
    }
}

#[async_trait]
impl Place<dyn FirstSeen> for Dir {
    async fn open(&self) -> Arc<dyn FirstSeen> {
        let log = EmbeddedLog::open(self.path(), LogOptions::default()).unwrap();
        let options = FirstSeenOptions { window: conformance::first_seen::WINDOW };
        Arc::new(WithLog { seen: EmbeddedFirstSeen::new(&log, options), _log: log })
    }
}

#[async_trait]
impl Place<dyn Revocations> for Dir {
    async fn open(&self) -> Arc<dyn Revocations> {
        Arc::new(EmbeddedRevocations::default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_conform() {
    conformance::revocations::all(&Dir::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_conforms() {
    conformance::log::all(&Dir::new()).await;
}

/// A log as a node uses it: records come with their schemas known.
struct Aware(Dir);

#[async_trait]
impl Place<dyn Log> for Aware {
    async fn open(&self) -> Arc<dyn Log> {
        let log: Arc<dyn Log> = Place::<dyn Log>::open(&self.0).await;
        Arc::new(SchemaAwareLog::new(log.clone(), Arc::new(SchemaTopic::new(log))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_node_conforms() {
    conformance::log::all(&Aware(Dir::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packs_conform() {
    conformance::blob::all(&Dir::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hot_store_conforms() {
    conformance::hot::all(&Dir::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_seen_conforms() {
    conformance::first_seen::all(&Dir::new()).await;
}
