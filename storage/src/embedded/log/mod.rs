//! The log on `fjall`: one database, a keyspace per partition, one committer thread.
//!
//! An append goes: [`queue`] (bounded) → [`committer`] (offsets, one batch, one sync for all who wait) → [`shared`]
//! (ends move, readers wake) → answer. A consumer's commit takes the same way, with its positions in the same batch
//! ([`groups`], [`consumer`]). A failed write poisons the database; [`repair`] opens it again as it was.
//!
//! What it is not: replicated, or shared by processes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;

use self::disk::{Disk, LocalDisk};
use crate::embedded::OpenError;
use crate::log::{Consumer, Log, LogError, NewRecord, Position, Record, check_sizes};

mod claims;
mod committer;
mod consumer;
mod disk;
mod groups;
mod layout;
mod options;
mod queue;
mod repair;
mod retention;
mod shared;
mod store;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use claims::{ClaimKey, StoredClaim};
pub use options::{LogOptions, TopicOptions};
pub(crate) use shared::Shared;

/// A [`Log`] in a directory.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, creating it when there is none. What was acknowledged before a crash is there again.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, OpenError> {
        Self::open_on(dir, options, Arc::new(LocalDisk))
    }

    /// The same on a disk of the caller's, such as one that fails on demand.
    fn open_on(dir: &Path, options: LogOptions, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(|error| OpenError::io(dir, error))?;
        let shared = Arc::new(Shared::open(dir, options, disk)?);
        let committer = committer::Committer::new(shared.clone());
        let committer = std::thread::Builder::new()
            .name("log-committer".to_owned())
            .spawn({
                let shared = shared.clone();
                move || serve(&shared, || committer.run())
            })
            .map_err(|error| OpenError::io(dir, error))?;
        Ok(Self { shared, committer: Some(committer) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Writes what has been accepted, then closes the database. Consumers that are left get `Unavailable`.
impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.pressure.close("it is shutting down");
        self.shared.queue.close();
        if let Some(committer) = self.committer.take() {
            // What a panic says has been logged.
            let _ = committer.join();
        }
    }
}

/// Runs the committer. One that panics between batches has lost track of them: then the log is closed, nobody
/// waits for it, and a restart finds what is on disk.
fn serve(shared: &Shared, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_ok() {
        return;
    }
    tracing::error!("the log's committer ended with a panic; nothing is taken or read until a restart");
    shared.pressure.close("its committer ended with a panic; restart it");
    shared.queue.close();
    // Dropped with their answers, which tells the callers.
    while shared.queue.take(usize::MAX, Duration::ZERO).is_some() {}
    shared.set_store(None);
}

#[async_trait]
impl Log for EmbeddedLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.shared.layout.partitions(topic)
    }

    /// When the disk does not answer in time the records may still be written later: the caller's retry is then a
    /// second record, as after an answer lost on the way.
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        check_sizes(&records)?;
        let answer = self.shared.submit(records, None).await?;
        match tokio::time::timeout(self.shared.pressure.stall_timeout(), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(LogError::Unavailable("the committer dropped the request".to_owned())),
            Err(_) => Err(LogError::Unavailable(self.shared.pressure.silence())),
        }
    }

    async fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.shared.read(self.shared.slot(topic, partition)?, offset, max_records, max_bytes)
    }

    async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        let end = self.shared.end(self.shared.slot(topic, partition)?);
        Ok((end.first, end.next))
    }

    async fn wait(&self, topic: Topic, partition: u32, offset: u64, timeout: Duration) -> Result<bool, LogError> {
        let slot = self.shared.slot(topic, partition)?;
        let mut arrivals = self.shared.arrivals(topic);
        let has_it = || self.shared.end(slot).next > offset;
        let arrival = arrivals.wait_for(|_| has_it());
        match tokio::time::timeout(timeout, arrival).await {
            Ok(_) => Ok(true),
            Err(_) => Ok(has_it()),
        }
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Consumer>, LogError> {
        self.shared.pressure.check().or_else(|reason| {
            // A full disk is no reason not to read.
            if self.shared.queue.is_closed() { Err(LogError::Unavailable(reason)) } else { Ok(()) }
        })?;
        Ok(Box::new(consumer::EmbeddedConsumer::join(self.shared.clone(), group, topic)))
    }

    async fn committed(&self, group: &str, topic: Topic, partition: u32) -> Result<Option<u64>, LogError> {
        self.shared.slot(topic, partition)?;
        Ok(self.shared.groups.committed(group, topic, partition))
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || retention::enforce(&shared))
            .await
            .map_err(|error| LogError::Unavailable(format!("retention stopped: {error}")))?
    }
}
