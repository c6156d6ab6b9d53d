//! What has to be done now and then: retention of the log, lapsed claims of first-seen.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_storage::Storage;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const INTERVAL: Duration = Duration::from_secs(60);

/// Runs until `shutdown`. What fails is tried again at the next turn.
pub async fn run(storage: Storage, shutdown: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match storage.log.enforce_retention().await {
            Ok(0) => {}
            Ok(records) => info!(records, "retention dropped processed records"),
            Err(error) => warn!(%error, "retention failed"),
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Err(error) = storage.first_seen.expire(now.as_micros() as i64).await {
            warn!(%error, "lapsed claims could not be dropped");
        }
    }
}
