//! Bodies in packs on S3: objects `<prefix>/blobs/<day>/<ulid>.pack`, in the format of [`packs`](crate::packs::entry).
//!
//! A put goes: entry (compressed and framed, on the caller's side) → [`writer`] (gathers what comes within some tens of
//! milliseconds) → [`upload`] (one object, several at a time) → references. So that a body is durable when its caller
//! hears of it, and thousands of bodies cost one request.
//!
//! A pack is never written again: its name is new, and the object is created only if there is none of that name. An
//! upload whose answer was lost is asked after rather than repeated blindly. A pack that was given up may exist all the
//! same; nothing refers to it, and whoever handed its bodies over was told to try again.
//!
//! A get is a ranged request, shared with others that want neighbours at the same moment ([`gather`]), and checked
//! ([`reader`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::object_store::told;
use super::{S3Error, S3Options};
use crate::blob::{BlobError, BlobStore, BodyRef};
use crate::packs::entry;

mod attempts;
mod cache;
mod gather;
mod reader;
mod upload;
mod writer;

use attempts::Attempts;
use writer::Waiting;

/// Bodies below this are compressed and opened in place; larger ones on a thread that may block.
const INLINE_BYTES: usize = 64 * 1024;
/// The unit of what may wait; small bodies count as one.
const UNIT_BYTES: usize = 256;

#[derive(Clone, Debug)]
pub struct S3PackOptions {
    /// A pack that has reached this is closed. Default: 16 MiB.
    pub max_pack_bytes: usize,
    /// A pack is closed this long after its first body. Default: 20 ms.
    pub max_delay: Duration,
    /// Packs that are uploaded at a time; while all are busy, packs grow. Default: 16.
    pub max_uploads: usize,
    /// Packs above this are uploaded in parts of 8 MiB. Default: 16 MiB.
    pub multipart_bytes: usize,
    /// Bytes of bodies that may wait or be under way. Default: 128 MiB.
    pub max_waiting_bytes: usize,
    /// How long a put may take. Default: 20 s.
    pub put_timeout: Duration,
    /// How long a get may take. Default: 15 s.
    pub get_timeout: Duration,
    /// How long a request is waited for before it is tried again; twice as long each time. Default: 5 s.
    pub attempt_timeout: Duration,
    /// Bodies read last are kept up to this. Default: 32 MiB.
    pub cache_bytes: usize,
}

impl Default for S3PackOptions {
    fn default() -> Self {
        Self {
            max_pack_bytes: 16 * 1024 * 1024,
            max_delay: Duration::from_millis(20),
            max_uploads: 16,
            multipart_bytes: 16 * 1024 * 1024,
            max_waiting_bytes: 128 * 1024 * 1024,
            put_timeout: Duration::from_secs(20),
            get_timeout: Duration::from_secs(15),
            attempt_timeout: Duration::from_secs(5),
            cache_bytes: 32 * 1024 * 1024,
        }
    }
}

/// A [`BlobStore`] that all processes share.
pub struct S3Packs {
    options: S3PackOptions,
    reader: reader::Reader,
    queue: mpsc::UnboundedSender<writer::Request>,
    /// In units of [`UNIT_BYTES`].
    room: Arc<Semaphore>,
    room_units: u32,
}

impl S3Packs {
    /// Opens the packs of the bucket, which must exist and let us list it. What has been accepted is uploaded also when
    /// this is dropped, as long as the runtime lives.
    ///
    /// # Errors
    /// When the bucket cannot be used now.
    pub async fn open(store: Arc<dyn ObjectStore>, s3: &S3Options, options: S3PackOptions) -> Result<Self, S3Error> {
        let root = Path::from_iter(s3.prefix.split('/').filter(|part| !part.is_empty()).chain(["blobs"]));
        let failed = |reason: String| S3Error { bucket: s3.bucket.clone(), reason };
        // A bucket that is not there must not look like one without bodies.
        match tokio::time::timeout(options.get_timeout, store.list(Some(&root)).try_next()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(failed(told(&error))),
            Err(_) => return Err(failed("it does not answer".to_owned())),
        }
        let (queue, requests) = mpsc::unbounded_channel();
        tokio::spawn(writer::Writer::new(store.clone(), root.clone(), options.clone()).run(requests));
        let room_units = u32::try_from(options.max_waiting_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX / 2).max(1);
        let room = Arc::new(Semaphore::new(room_units as usize));
        let reader = reader::Reader::new(store, root, &options);
        Ok(Self { options, reader, queue, room, room_units })
    }

    async fn put_entry(&self, body: Bytes) -> Result<BodyRef, BlobError> {
        let waiting = Waiting::new(body.len());
        let units = u32::try_from(body.len().div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.room_units);
        // Room first: a body that has to wait is not yet held twice.
        let room = self.room.clone().acquire_many_owned(units).await.map_err(|_| stopped())?;
        let entry = encode(body).await?;
        let (answer, receiver) = oneshot::channel();
        self.queue
            .send(writer::Request { entry: entry.into(), answer, _room: room, _waiting: waiting })
            .map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }
}

async fn encode(body: Bytes) -> Result<Vec<u8>, BlobError> {
    if body.len() <= INLINE_BYTES {
        return Ok(entry::encode(&body));
    }
    tokio::task::spawn_blocking(move || entry::encode(&body))
        .await
        .map_err(|error| BlobError::Unavailable(format!("compression stopped: {error}")))
}

fn stopped() -> BlobError {
    BlobError::Unavailable("the writer of packs has stopped".to_owned())
}

#[async_trait]
impl BlobStore for S3Packs {
    async fn put(&self, body: Bytes) -> Result<BodyRef, BlobError> {
        match tokio::time::timeout(self.options.put_timeout, self.put_entry(body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(BlobError::Unavailable(format!(
                "S3 has not taken it for {} s",
                self.options.put_timeout.as_secs_f32()
            ))),
        }
    }

    async fn get(&self, reference: &BodyRef) -> Result<Bytes, BlobError> {
        self.reader.read(reference).await
    }
}

/// What an object store says, without its layers.
fn reason(error: &object_store::Error) -> String {
    format!("S3: {error}")
}
