//! The task that gathers bodies into packs.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use object_store::{ObjectStore, path::Path};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::S3PackOptions;
use super::reader::PackPath;
use super::upload::Upload;
use crate::blob::{BlobError, BodyRef};
use crate::cluster::depth::Depth;
use crate::packs::{self, entry};

pub(super) struct Request {
    /// Framed ([`entry::encode`]).
    pub(super) entry: Bytes,
    /// Closed when the caller has gone.
    pub(super) answer: oneshot::Sender<Result<BodyRef, BlobError>>,
    pub(super) _room: OwnedSemaphorePermit,
    pub(super) _waiting: Waiting,
}

/// Counts a body among those that wait, for room, for their pack or for its upload, until it is dropped.
pub(super) struct Waiting {
    _bodies: Depth,
    _bytes: Depth,
}

impl Waiting {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            _bodies: Depth::new(metrics::gauge!("millrace_packs_waiting_bodies"), 1),
            _bytes: Depth::new(metrics::gauge!("millrace_packs_waiting_bytes"), bytes),
        }
    }
}

pub(super) struct Writer {
    store: Arc<dyn ObjectStore>,
    root: Path,
    options: S3PackOptions,
    slots: Arc<Semaphore>,
}

#[derive(Default)]
struct Pack {
    requests: Vec<Request>,
    len: usize,
}

impl Pack {
    fn add(&mut self, request: Request) {
        self.len += request.entry.len();
        self.requests.push(request);
    }
}

impl Writer {
    pub(super) fn new(store: Arc<dyn ObjectStore>, root: Path, options: S3PackOptions) -> Self {
        let slots = Arc::new(Semaphore::new(options.max_uploads.max(1)));
        Self { store, root, options, slots }
    }

    /// Runs until no more requests can come, then uploads what is left.
    pub(super) async fn run(self, mut requests: UnboundedReceiver<Request>) {
        while let Some(first) = requests.recv().await {
            let mut pack = Pack::default();
            pack.add(first);
            let delay = tokio::time::sleep(self.options.max_delay);
            self.gather(&mut pack, &mut requests, delay).await;
            // While all uploads are busy the pack goes on to grow.
            let slot = self.gather(&mut pack, &mut requests, self.slots.clone().acquire_owned()).await;
            pack.requests.retain(|request| !request.answer.is_closed());
            if !pack.requests.is_empty() {
                let upload = self.upload(&pack.requests);
                tokio::spawn(async move {
                    finish(upload, pack.requests).await;
                    drop(slot);
                });
            }
        }
    }

    /// Adds what comes until `done`, or until the pack is full; then only waits.
    async fn gather<T>(
        &self,
        pack: &mut Pack,
        requests: &mut UnboundedReceiver<Request>,
        done: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                output = &mut done => return output,
                Some(request) = requests.recv(), if pack.len < self.options.max_pack_bytes => pack.add(request),
            }
        }
    }

    fn upload(&self, requests: &[Request]) -> (Upload, Vec<BodyRef>) {
        let name = packs::new_name();
        let object = self.root.clone().join_pack(&name);
        let header = Bytes::copy_from_slice(&entry::pack_header());
        let mut end = header.len() as u64;
        let mut chunks = vec![header];
        let mut references = Vec::with_capacity(requests.len());
        for request in requests {
            let length = request.entry.len() as u64;
            references.push(BodyRef { pack: name.clone(), offset: end, length });
            chunks.push(request.entry.clone());
            end += length;
        }
        (Upload { store: self.store.clone(), object, chunks, options: self.options.clone() }, references)
    }
}

async fn finish((upload, references): (Upload, Vec<BodyRef>), requests: Vec<Request>) {
    let started = Instant::now();
    let bytes: usize = requests.iter().map(|request| request.entry.len()).sum();
    let outcome = upload.run(|| requests.iter().any(|request| !request.answer.is_closed())).await;
    // The bytes are given back before the room that they took.
    drop(upload);
    match outcome {
        Ok(()) => {
            metrics::histogram!("millrace_packs_upload_seconds").record(started.elapsed().as_secs_f64());
            metrics::histogram!("millrace_packs_upload_bytes").record(bytes as f64);
            metrics::counter!("millrace_packs_bodies_total").increment(references.len() as u64);
            for (request, reference) in requests.into_iter().zip(references) {
                // The caller may have stopped waiting; then nothing refers to the entry.
                let _ = request.answer.send(Ok(reference));
            }
        }
        Err(error) => {
            tracing::error!(%error, bodies = requests.len(), "bodies cannot be stored");
            metrics::counter!("millrace_packs_failures_total", "kind" => error.kind()).increment(1);
            for request in requests {
                let _ = request.answer.send(Err(BlobError::Unavailable(error.to_string())));
            }
        }
    }
}
