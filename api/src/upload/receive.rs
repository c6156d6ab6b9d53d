//! Receives a body within bounds of size, time and memory.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::{HttpError, RequestError};
use crate::options::Options;

/// An upload has the read timeout for each piece of this size, or for what is left: 70 kbit/s keep it going.
const PIECE_BYTES: usize = 256 << 10;

/// A body that is here, and its share of the memory, which is free again when this is dropped.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

/// Receives a body. `memory` has a permit for each byte that uploads may hold; what finds none is refused rather than
/// left to wait, since those that hold the memory might be waiting as well.
///
/// # Errors
/// The limit `maxSizeUpload`, as soon as it is known to be exceeded; [`HttpError::Timeout`] when it comes in too slowly;
/// [`HttpError::Busy`] when other uploads hold the memory.
pub(super) async fn receive(options: &Options, memory: &Arc<Semaphore>, mut body: Body) -> Result<Received, HttpError> {
    let too_large = || RequestError::Limit("maxSizeUpload", options.max_size_upload);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > options.max_size_upload {
        return Err(too_large().into());
    }
    let started = Instant::now();
    let mut piece_due = started + options.read_timeout;
    let mut bytes = Vec::with_capacity(announced);
    let mut held: Option<OwnedSemaphorePermit> = None;
    loop {
        let late = |_| HttpError::Timeout(started.elapsed().as_secs());
        let Some(frame) = timeout_at(piece_due, body.frame()).await.map_err(late)? else { break };
        let frame = frame.map_err(|error| HttpError::BadRequest(format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > options.max_size_upload - bytes.len() {
            return Err(too_large().into());
        }
        let share = u32::try_from(data.len()).ok().and_then(|len| memory.clone().try_acquire_many_owned(len).ok());
        let share = share.ok_or(HttpError::Busy("too much is being uploaded; try again in a moment"))?;
        match &mut held {
            Some(held) => held.merge(share),
            None => held = Some(share),
        }
        if bytes.len() / PIECE_BYTES < (bytes.len() + data.len()) / PIECE_BYTES {
            piece_due = Instant::now() + options.read_timeout;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received { bytes: bytes.into(), _held: held })
}
