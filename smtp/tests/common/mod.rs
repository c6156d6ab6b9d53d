//! A reception server on a free port, and clients that speak bytes to it.
#![allow(dead_code, clippy::unwrap_used)]

pub mod client;
pub mod people;
pub mod store;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use millrace_schemas::{Topic, decode};
use millrace_smtp::{Reception, ReceptionOptions, serve};
use millrace_storage::embedded::{EmbeddedStorage, StorageOptions};
use millrace_storage::{BlobStore, Log};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use client::Client;
pub use store::Store;

pub const SERVER_NAME: &str = "mx.millrace.test";

pub struct Server {
    pub address: SocketAddr,
    pub log: Arc<dyn Log>,
    pub blobs: Arc<dyn BlobStore>,
    /// Where each partition of the log ended when the server was started.
    starts: Vec<u64>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// A message as it was stored.
pub struct Stored {
    pub record: millrace_schemas::Reception,
    pub trace: String,
    pub content: Vec<u8>,
}

pub fn options() -> ReceptionOptions {
    ReceptionOptions::new(SERVER_NAME)
}

/// The storage that a server has in earnest, in a folder of its own.
pub fn embedded() -> (EmbeddedStorage, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (EmbeddedStorage::open(folder.path(), StorageOptions::default()).unwrap(), folder)
}

impl Server {
    pub async fn start(log: Arc<dyn Log>, blobs: Arc<dyn BlobStore>, options: ReceptionOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reception = Reception::new(log.clone(), blobs.clone(), Arc::new(people::People), options).unwrap();
        let mut starts = Vec::new();
        for partition in 0..log.partitions(Topic::Reception) {
            starts.push(log.bounds(Topic::Reception, partition).await.unwrap().1);
        }
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, Arc::new(reception), shutdown.clone()));
        Self { address, log, blobs, starts, shutdown, task }
    }

    /// With storage that can be told to fail.
    pub async fn with_store(options: ReceptionOptions) -> (Self, Arc<Store>) {
        let store = Arc::new(Store::default());
        (Self::start(store.clone(), store.clone(), options).await, store)
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Shuts down and waits for the last session.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// All that this server answered 250, oldest first.
    pub async fn stored(&self) -> Vec<Stored> {
        let mut stored = Vec::new();
        for (partition, start) in (0..).zip(&self.starts) {
            for record in self.log.read(Topic::Reception, partition, *start, 10_000, 1 << 30).await.unwrap() {
                let record: millrace_schemas::Reception = decode(&record.value).unwrap();
                let body: Bytes = self.blobs.get(&record.body.parse().unwrap()).await.unwrap();
                assert_eq!(body.len() as i64, record.size_bytes);
                let (trace, content) = body.split_at(record.trace_bytes as usize);
                assert_eq!(record.body_digest, blake3::hash(content).to_hex().as_str());
                let trace = String::from_utf8(trace.to_vec()).unwrap();
                stored.push(Stored { record, trace, content: content.to_vec() });
            }
        }
        stored.sort_by_key(|stored| stored.record.received_at_us);
        stored
    }
}
