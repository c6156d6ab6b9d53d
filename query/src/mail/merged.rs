//! An account's versions from tables and hot store together.

use std::sync::Arc;
use std::time::Duration;

use millrace_storage::HotStore;
use millrace_storage::hot::HotError;

use super::stored::{StoredError, Versions, account_versions};
use super::version::{BadVersion, EmailVersion};
use crate::tables::{Table, Tables};

/// Landings between the two looks; each takes tens of milliseconds, so a second one in a row is rare.
const ATTEMPTS: u32 = 10;
/// Before the third look and the following ones, each time twice as long.
const PAUSE: Duration = Duration::from_millis(5);

/// Why an account cannot be read now.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error(transparent)]
    Hot(#[from] HotError),
    #[error(transparent)]
    Version(#[from] BadVersion),
    #[error("the hot store dropped rows of partition {0} that the tables do not show yet; try again")]
    Torn(u32),
}

/// Everything known of an account.
pub(crate) struct Merged {
    /// By email id, destroyed ones among them, without facts.
    pub(crate) versions: Versions,
    /// Every change before this offset is in.
    pub(crate) known_to: u64,
    /// What was shown before may reach to here.
    pub(crate) complete_at: u64,
}

/// Reads the tables, then what came after from the hot store. When the hot store no longer holds what the snapshot lacks,
/// somebody has landed it, here or in another process: then there is a newer snapshot, which is read instead.
pub(crate) async fn load(
    tables: &Tables,
    hot: &dyn HotStore,
    partition: u32,
    account_id: &str,
) -> Result<Merged, MergeError> {
    let mut held_from = 0;
    for attempt in 0..ATTEMPTS {
        if attempt > 1 {
            tokio::time::sleep(PAUSE * (1 << (attempt - 2))).await;
        }
        let snapshot = tables.snapshot_reaching(Table::EmailState, partition, held_from).await;
        let snapshot = snapshot.map_err(StoredError::from)?;
        let landed_to = snapshot.positions().get(&partition).copied().unwrap_or(0);
        let mut versions = account_versions(&snapshot, account_id).await?;
        let tail = hot.tail(partition, account_id, landed_to).await?;
        if tail.held_from > landed_to {
            held_from = tail.held_from;
            continue;
        }
        for row in &tail.rows {
            let version = EmailVersion::decode(&row.value)?.without_facts();
            versions.insert(version.email_id.clone(), version);
        }
        let known_to = tail.applied_to.max(landed_to);
        return Ok(Merged { versions, known_to, complete_at: tail.complete_at });
    }
    Err(MergeError::Torn(partition))
}

/// The newest version that the hot store holds of an email, with its facts when the tables may not have them.
pub(crate) async fn newest_hot(
    hot: &dyn HotStore,
    partition: u32,
    account_id: &str,
    email_id: &str,
) -> Result<Option<Arc<EmailVersion>>, MergeError> {
    let row = hot.newest(partition, account_id, email_id).await?;
    Ok(row.map(|row| EmailVersion::decode(&row.value)).transpose()?.map(Arc::new))
}
