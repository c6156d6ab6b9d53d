//! The adapters that need nothing but a directory.
//!
//! - [`log`]: the log on an LSM store, one committer that syncs for all who wait
//! - [`packs`]: bodies in pack files
//! - [`hot`]: the hot store in process
//! - [`first_seen`]: first-seen beside the log, made durable by the log's next sync
//! - [`revocations`]: ended sessions in process
//!
//! [`EmbeddedStorage::open`] opens all of them in one data directory and keeps other processes out of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::Topic;

pub mod first_seen;
pub mod hot;
pub mod log;
pub mod packs;
pub mod revocations;

mod clock;
mod lock;
mod pressure;

pub use clock::Clock;
pub use first_seen::{EmbeddedFirstSeen, FirstSeenOptions};
pub use hot::{EmbeddedHot, HotOptions};
pub use lock::DirLock;
pub use log::{EmbeddedLog, LogOptions, TopicOptions};
pub use packs::{EmbeddedPacks, PackOptions};
pub use revocations::EmbeddedRevocations;

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another millrace process is using {}; stop it, or choose another data directory", .0.display())]
    InUse(PathBuf),
    #[error("cannot use {}: {source}; check that it is a directory that this user may write to", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the log in {} does not open: {reason}; restore the directory from a backup, or begin with an empty one", path.display())]
    Log { path: PathBuf, reason: String },
    #[error(
        "{topic} has {stored} partitions on disk and {asked} in the configuration; set it back to {stored}, since a key must stay in its partition"
    )]
    Partitions { topic: Topic, stored: u32, asked: u32 },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// The knobs of all four adapters.
#[derive(Clone, Debug, Default)]
pub struct StorageOptions {
    pub log: LogOptions,
    pub packs: PackOptions,
    pub hot: HotOptions,
    pub first_seen: FirstSeenOptions,
}

/// Everything a process keeps, in one directory.
#[derive(Clone)]
pub struct EmbeddedStorage {
    pub log: Arc<EmbeddedLog>,
    pub blobs: Arc<EmbeddedPacks>,
    pub hot: Arc<EmbeddedHot>,
    pub first_seen: Arc<EmbeddedFirstSeen>,
    /// Held while any of the above may be used; released when the last clone goes.
    pub lock: Arc<DirLock>,
}

impl EmbeddedStorage {
    /// Opens `data_dir`, creating it when it does not exist: `log/`, `blobs/` and a lock file.
    pub fn open(data_dir: &Path, options: StorageOptions) -> Result<Self, OpenError> {
        let lock = Arc::new(DirLock::take(data_dir)?);
        let blobs = Arc::new(EmbeddedPacks::open(&data_dir.join("blobs"), options.packs)?);
        let log = Arc::new(EmbeddedLog::open(&data_dir.join("log"), options.log)?);
        let first_seen = Arc::new(EmbeddedFirstSeen::new(&log, options.first_seen));
        Ok(Self { log, blobs, hot: Arc::new(EmbeddedHot::new(options.hot)), first_seen, lock })
    }
}

/// How long a caller waits for a disk that does not answer.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Free space below which nothing more is taken, so that flushes and compactions can finish.
pub const MIN_FREE_BYTES: u64 = 256 * 1024 * 1024;
