//! The writes of the log, behind a trait so that tests can make them fail.

use fjall::{OwnedWriteBatch, PersistMode};

pub(crate) trait Disk: Send + Sync {
    /// Writes a batch; returns when it is on disk.
    fn commit(&self, batch: OwnedWriteBatch) -> fjall::Result<()>;
}

/// The file system.
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {
    fn commit(&self, batch: OwnedWriteBatch) -> fjall::Result<()> {
        batch.durability(Some(PersistMode::SyncData)).commit()
    }
}
