//! fetch_body: a body by its reference, with bounded patience.

use std::time::Duration;

use bytes::Bytes;
use millrace_storage::{BlobError, BlobStore, BodyRef};
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Waits before each new try when the store cannot be reached; then an error.
const PAUSES_MS: [u64; 3] = [50, 250, 1000];
/// One read, at most: the whole stays under Arroyo's 30 s a call.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The body, or None when there is none that could be served: not found, damaged, or not a reference.
///
/// # Errors
/// The store did not answer in time, several times over: the record is to be tried again.
pub(crate) async fn fetch(blobs: &dyn BlobStore, reference: &str) -> Result<Option<Bytes>, String> {
    let Ok(place) = reference.parse::<BodyRef>() else {
        warn!(reference, "not a body reference");
        return Ok(None);
    };
    let mut reason = String::new();
    for pause_ms in PAUSES_MS.iter().map(Some).chain([None]) {
        match timeout(READ_TIMEOUT, blobs.get(&place)).await {
            Ok(Ok(body)) => return Ok(Some(body)),
            Ok(Err(error @ (BlobError::NotFound(_) | BlobError::Damaged { .. }))) => {
                warn!(%error, "body cannot be served");
                return Ok(None);
            }
            Ok(Err(BlobError::Unavailable(why))) => reason = why,
            Err(_) => reason = format!("no answer within {} s", READ_TIMEOUT.as_secs()),
        }
        if let Some(pause_ms) = pause_ms {
            sleep(Duration::from_millis(*pause_ms)).await;
        }
    }
    Err(format!("the body at {reference} could not be read: {reason}"))
}
