//! Bodies in pack files: `<day>/<ulid>.pack`.
//!
//! A put goes: [`entry`](crate::packs::entry) (compressed and framed, on the caller's side) → [`writer`] (one thread appends all that wait
//! and syncs once) → reference. A get is one positioned read, checked ([`reader`]). [`verify`] walks a pack and
//! reports damage.
//!
//! A pack is written by one process from its creation to its close and never opened for writing again, so nothing is
//! ever appended behind a tail that a crash cut off.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::pressure::Pressure;
use super::{MIN_FREE_BYTES, OpenError, STALL_TIMEOUT};
use crate::blob::{BlobError, BlobStore, BodyRef};
use crate::packs::entry;

pub mod disk;
mod reader;
pub mod verify;
mod writer;

pub use disk::{Disk, LocalDisk, PackFile};
pub use verify::{Damage, PackReport};

/// Bodies below this are compressed and read in place; larger ones on a thread that may block.
const INLINE_BYTES: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub struct PackOptions {
    /// A pack that has reached this is closed.
    pub max_pack_bytes: u64,
    /// Stored bytes that may wait for the writer.
    pub max_waiting_bytes: usize,
    pub stall_timeout: Duration,
    /// Free space below which nothing is taken.
    pub min_free_bytes: u64,
    /// Packs that are kept open for reading.
    pub max_open_packs: usize,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            max_pack_bytes: 64 * 1024 * 1024,
            max_waiting_bytes: 64 * 1024 * 1024,
            stall_timeout: STALL_TIMEOUT,
            min_free_bytes: MIN_FREE_BYTES,
            max_open_packs: 64,
        }
    }
}

/// A [`BlobStore`] in a folder.
pub struct EmbeddedPacks {
    dir: PathBuf,
    pressure: Arc<Pressure>,
    queue: Arc<writer::Queue>,
    reader: Arc<reader::Reader>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedPacks {
    /// Opens the packs in `dir`, creating it when there is none.
    pub fn open(dir: &Path, options: PackOptions) -> Result<Self, OpenError> {
        Self::open_on(dir, options, Box::new(LocalDisk))
    }

    /// The same on a disk of the caller's, such as one that fails on demand.
    pub fn open_on(dir: &Path, options: PackOptions, disk: Box<dyn Disk>) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(|error| OpenError::io(dir, error))?;
        report_torn_tail(dir);
        let pressure = Arc::new(Pressure::new(options.max_waiting_bytes, options.stall_timeout));
        let queue = Arc::new(writer::Queue::default());
        let reader = Arc::new(reader::Reader::new(dir, options.max_open_packs));
        let writer = writer::Writer::new(dir, &options, disk, pressure.clone(), queue.clone());
        let writer = std::thread::Builder::new()
            .name("pack-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::io(dir, error))?;
        Ok(Self { dir: dir.to_owned(), pressure, queue, reader, writer: Some(writer) })
    }

    /// The names of all packs, oldest first.
    pub fn packs(&self) -> std::io::Result<Vec<String>> {
        verify::list(&self.dir)
    }

    /// Reads every entry of a pack and reports what is damaged, and where. Blocks.
    pub fn verify(&self, pack: &str) -> std::io::Result<PackReport> {
        verify::verify(&self.dir.join(pack))
    }
}

/// A pack that a crash cut off is left as it is: what was acknowledged is before the cut.
fn report_torn_tail(dir: &Path) {
    let newest = verify::list(dir).ok().and_then(|packs| packs.last().cloned());
    let Some(pack) = newest else { return };
    match verify::torn_tail(&dir.join(&pack)) {
        Ok(Some(offset)) => {
            tracing::warn!(pack, offset, "the newest pack ends in an unfinished entry, a new one is begun")
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(pack, %error, "the newest pack cannot be read"),
    }
}

/// Writes what has been accepted.
impl Drop for EmbeddedPacks {
    fn drop(&mut self) {
        self.pressure.close("it is shutting down");
        self.queue.close();
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the pack writer ended with a panic");
        }
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

#[async_trait]
impl BlobStore for EmbeddedPacks {
    async fn put(&self, body: Bytes) -> Result<BodyRef, BlobError> {
        // Room first: a body that has to wait is not yet held twice.
        let room = self.pressure.enter(body.len()).await.map_err(BlobError::Unavailable)?;
        let entry = encode(body).await?;
        let (answer, receiver) = oneshot::channel();
        self.queue.push(writer::Request { entry, answer, _room: room })?;
        match tokio::time::timeout(self.pressure.stall_timeout(), receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(BlobError::Unavailable("the pack writer dropped the request".to_owned())),
            Err(_) => Err(BlobError::Unavailable(self.pressure.silence())),
        }
    }

    async fn get(&self, reference: &BodyRef) -> Result<Bytes, BlobError> {
        if reference.length <= INLINE_BYTES as u64 {
            return self.reader.read(reference);
        }
        let (reader, wanted) = (self.reader.clone(), reference.clone());
        tokio::task::spawn_blocking(move || reader.read(&wanted))
            .await
            .map_err(|error| BlobError::Unavailable(format!("reading stopped: {error}")))?
    }
}
