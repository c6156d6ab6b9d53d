//! One append against all others who commit: tried until it is in the table, or can never be.

use std::time::{Duration, Instant};

use metrics::counter;

use super::backend::Backend;
use super::catalog::{Outcome, Proposal};
use super::commit::{self, Append, Prepared};
use super::positions::Positions;
use super::slot::Slot;
use super::state::TableState;
use super::{Table, TableError};
use crate::backoff::Backoff;

/// Attempts to commit against others before giving up. Many, since one who commits without a pause goes before another
/// time and again: nobody queues.
const ATTEMPTS: u32 = 100;
const LONGEST_PAUSE_MS: u64 = 250;
/// How long a catalog is asked what became of a commit.
const PATIENCE: Duration = Duration::from_secs(30);

/// An append and what it meets. One caller at a time commits to a slot.
pub(super) struct Attempts<'a> {
    pub(super) backend: &'a Backend,
    pub(super) slot: &'a Slot,
    pub(super) append: &'a Append,
    /// Where the partitions stood when the rows were read.
    pub(super) base: &'a Positions,
    /// Where they are to stand.
    pub(super) positions: &'a Positions,
}

/// The append did not take place, or nobody knows.
pub(super) struct Failed {
    pub(super) error: TableError,
    /// A snapshot may name the files, now or a little later: they must stay.
    pub(super) may_be_committed: bool,
}

impl Attempts<'_> {
    pub(super) async fn run(&self) -> Result<(), Failed> {
        let table = self.slot.state().table;
        let mut is_unknown = false;
        for attempt in 0..ATTEMPTS {
            let failed = |error| Failed { error, may_be_committed: is_unknown };
            let state = self.slot.state();
            if is_unknown && self.is_committed(&state).await.map_err(failed)? {
                tracing::info!(%table, "the commit whose outcome was unknown took place");
                self.slot.landed.lock().extend(self.positions);
                return Ok(());
            }
            if let Err(error) = check(table, &state.positions, self.base, self.positions) {
                *self.slot.landed.lock() = state.positions.clone();
                return Err(failed(error));
            }
            let outcome = self.attempt(&state, attempt).await.map_err(failed)?;
            match outcome {
                None => return Ok(()),
                Some(Outcome::Unknown(error)) => {
                    tracing::warn!(%table, %error, "the outcome of a commit is unknown and looked up");
                    counter!("millrace_tables_commit_unknown_total", "table" => table.name()).increment(1);
                    is_unknown = true;
                }
                Some(_) => counter!("millrace_tables_commit_conflicts_total", "table" => table.name()).increment(1),
            }
            tokio::time::sleep(pause(attempt)).await;
            self.reload(is_unknown).await.map_err(|error| Failed { error, may_be_committed: is_unknown })?;
        }
        let error = TableError::Contended { table, attempts: ATTEMPTS };
        Err(Failed { error, may_be_committed: is_unknown })
    }

    /// `None` when it is committed.
    async fn attempt(&self, state: &TableState, attempt: u32) -> Result<Option<Outcome>, TableError> {
        let Backend { catalog, io, files, .. } = self.backend;
        let Prepared { snapshot, manifests, positions } = self.append.onto(state, files, io, attempt).await?;
        let list = snapshot.manifest_list().to_owned();
        let outcome = catalog.commit(Proposal { state, snapshot }).await;
        match outcome {
            Ok(Outcome::Committed(made)) => {
                let expired = made.expired;
                let (metadata, metadata_location) = (made.metadata, made.location);
                self.slot.landed.lock().extend(self.positions);
                self.slot.advance(TableState { table: state.table, metadata, metadata_location, manifests, positions });
                commit::remove(io, expired.iter().map(String::as_str)).await;
                Ok(None)
            }
            Ok(Outcome::Unknown(error)) => Ok(Some(Outcome::Unknown(error))),
            Ok(Outcome::Conflict) => {
                commit::remove(io, std::iter::once(list.as_str())).await;
                Ok(Some(Outcome::Conflict))
            }
            Err(error) => {
                commit::remove(io, std::iter::once(list.as_str())).await;
                Err(error)
            }
        }
    }

    async fn is_committed(&self, state: &TableState) -> Result<bool, TableError> {
        patiently(|| self.backend.catalog.has_snapshot(state, self.append.snapshot_id())).await
    }

    /// Looks at the table. While the outcome of a commit is unknown, a catalog that does not answer is asked again.
    async fn reload(&self, is_unknown: bool) -> Result<(), TableError> {
        match is_unknown {
            true => patiently(|| self.slot.reload(self.backend)).await,
            false => self.slot.reload(self.backend).await,
        }
    }
}

/// Asks until there is an answer, for a while.
async fn patiently<T, F: Future<Output = Result<T, TableError>>>(mut ask: impl FnMut() -> F) -> Result<T, TableError> {
    let begun = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    loop {
        match ask().await {
            Err(error) if begun.elapsed() < PATIENCE => {
                tracing::debug!(%error, "the catalog does not tell yet what became of a commit");
                tokio::time::sleep(backoff.pause()).await;
            }
            outcome => return outcome,
        }
    }
}

/// The partitions that a commit moves must stand where it started from.
fn check(table: Table, current: &Positions, base: &Positions, positions: &Positions) -> Result<(), TableError> {
    for partition in positions.keys() {
        let expected = base.get(partition).copied().unwrap_or(0);
        let found = current.get(partition).copied().unwrap_or(0);
        if expected != found {
            return Err(TableError::Superseded { table, partition: *partition, expected, found });
        }
    }
    Ok(())
}

/// Longer each time, and by chance: those who met once do not meet again.
fn pause(attempt: u32) -> Duration {
    let longest = (10_u64 << (attempt / 4).min(10)).min(LONGEST_PAUSE_MS);
    Duration::from_millis(rand::random_range(0..=longest))
}
