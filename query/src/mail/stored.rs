//! Versions and facts of an account, read from the tables.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::error::ArrowError;

use super::rows::{FACT_COLUMNS, STATE_COLUMNS, facts_of, versions_of};
use super::version::{EmailVersion, Facts};
use crate::tables::{TableError, TableSnapshot};

/// Why the tables did not give an account's mail.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error("a table cannot be read: {0}")]
    Table(#[from] TableError),
    #[error("rows of a table cannot be read: {0}")]
    Rows(#[from] ArrowError),
}

/// The newest version of each email by its id.
pub(crate) type Versions = HashMap<Arc<str>, EmailVersion>;

fn keep_newest(versions: &mut Versions, found: Vec<EmailVersion>) {
    for version in found {
        let is_newer = versions.get(&version.email_id).is_none_or(|held| held.seq < version.seq);
        if is_newer {
            versions.insert(version.email_id.clone(), version);
        }
    }
}

/// The newest version of every email of the account, destroyed ones among them. `state` is a snapshot of `email_state`.
pub(crate) async fn account_versions(state: &TableSnapshot, account_id: &str) -> Result<Versions, StoredError> {
    let mut versions = Versions::new();
    for batch in state.read_account(account_id, &STATE_COLUMNS).await? {
        keep_newest(&mut versions, versions_of(&batch)?);
    }
    Ok(versions)
}

/// An email to look up: when it was received, when that is known, and its id.
pub(crate) type Wanted = (Option<i64>, String);

/// The newest versions below `before` of some emails. Those whose time is known are found by it; when one is not, the
/// whole account is read.
pub(crate) async fn some_versions(
    state: &TableSnapshot,
    account_id: &str,
    wanted: &[Wanted],
    before: u64,
) -> Result<Versions, StoredError> {
    let timed: Option<Vec<(i64, String)>> = wanted.iter().map(|(at, id)| Some(((*at)?, id.clone()))).collect();
    let batches = match timed {
        Some(timed) => state.read_emails(account_id, &timed, &STATE_COLUMNS).await?,
        None => state.read_account(account_id, &STATE_COLUMNS).await?,
    };
    let mut versions = Versions::new();
    for batch in batches {
        let found = versions_of(&batch)?.into_iter().filter(|version| version.seq < before).collect();
        keep_newest(&mut versions, found);
    }
    Ok(versions)
}

/// The facts of some emails. `emails` is a snapshot of `emails`.
pub(crate) async fn facts(
    emails: &TableSnapshot,
    account_id: &str,
    wanted: &[(i64, String)],
) -> Result<Vec<Arc<Facts>>, StoredError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::with_capacity(wanted.len());
    for batch in emails.read_emails(account_id, wanted, &FACT_COLUMNS).await? {
        found.extend(facts_of(&batch)?.into_iter().map(Arc::new));
    }
    Ok(found)
}
