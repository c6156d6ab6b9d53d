use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UploadPart, path::Path};

use super::attempts::Attempt;
use super::{Attempts, S3PackOptions, reason};

/// S3 wants 5 MiB at least, and stores that follow it want all parts but the last to be equal.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one pack that are uploaded at a time.
const PARTS_AT_A_TIME: usize = 4;

/// Why a pack was not uploaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("{0}")]
    Refused(String),
    #[error("S3 does not answer")]
    Silent,
    #[error("nobody waits for it any more")]
    Abandoned,
}

impl UploadError {
    /// The kind as metrics name it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Silent => "silent",
            Self::Abandoned => "abandoned",
        }
    }
}

/// One object to be, and the way there.
pub(super) struct Upload {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) object: Path,
    pub(super) chunks: Vec<Bytes>,
    pub(super) options: S3PackOptions,
}

impl Upload {
    /// Returns once the object is there, whole. Gives up at the deadline, or when nobody `is_waited_for`; then it may
    /// be there or not.
    pub(super) async fn run(&self, is_waited_for: impl Fn() -> bool) -> Result<(), UploadError> {
        let mut attempts = Attempts::new(self.options.put_timeout, self.options.attempt_timeout);
        loop {
            let failure = match attempts.attempt(self.put()).await {
                Attempt::Answered(Ok(())) => return Ok(()),
                Attempt::Answered(Err(error)) => {
                    // An earlier attempt may have come through although its answer was lost: then this one was refused
                    // for it. Nobody else makes this name, so an object as long as ours is ours.
                    if self.may_be_there(&error)
                        && let Attempt::Answered(Ok(object)) = attempts.attempt(self.store.head(&self.object)).await
                        && object.size == self.len()
                    {
                        return Ok(());
                    }
                    UploadError::Refused(reason(&error))
                }
                Attempt::Silent => UploadError::Silent,
            };
            tracing::warn!(object = %self.object, %failure, "a pack could not be uploaded and is tried again");
            metrics::counter!("millrace_packs_retries_total", "kind" => failure.kind()).increment(1);
            if !is_waited_for() {
                return Err(UploadError::Abandoned);
            }
            if !attempts.pause().await {
                return Err(failure);
            }
        }
    }

    fn len(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }

    fn is_multipart(&self) -> bool {
        self.len() > self.options.multipart_bytes as u64
    }

    fn may_be_there(&self, error: &Error) -> bool {
        // S3 forgets an upload in parts that was completed, and says so in several ways.
        self.is_multipart() || matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. })
    }

    async fn put(&self) -> object_store::Result<()> {
        if self.is_multipart() {
            return self.put_parts().await;
        }
        let payload: PutPayload = self.chunks.iter().cloned().collect();
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(&self.object, payload, options).await.map(|_| ())
    }

    /// The parts of an attempt that is given up midway are for the bucket's own rules to remove.
    async fn put_parts(&self) -> object_store::Result<()> {
        let mut upload = self.store.put_multipart(&self.object).await?;
        let parts = parts(&self.chunks, PART_BYTES);
        let parts: Vec<UploadPart> = parts.into_iter().map(|part| upload.put_part(part)).collect();
        let sent = stream::iter(parts).buffer_unordered(PARTS_AT_A_TIME).try_collect::<()>().await;
        let outcome = match sent {
            Ok(()) => upload.complete().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // Does nothing to an upload that was completed after all.
            let _ = upload.abort().await;
        }
        outcome
    }
}

/// The chunks, without a copy, in parts of `len` bytes; the last may be shorter.
fn parts(chunks: &[Bytes], len: usize) -> Vec<PutPayload> {
    let (mut parts, mut part, mut room) = (Vec::new(), Vec::new(), len);
    for chunk in chunks {
        let mut rest = chunk.clone();
        while rest.len() >= room {
            part.push(rest.split_to(room));
            parts.push(part.drain(..).collect());
            room = len;
        }
        room -= rest.len();
        part.push(rest);
    }
    if room < len {
        parts.push(part.into_iter().collect());
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_the_chunks_in_equal_lengths(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
            len in 1..40_usize,
        ) {
            let whole = chunks.concat();
            let chunks: Vec<Bytes> = chunks.into_iter().map(Bytes::from).collect();
            let parts = parts(&chunks, len);
            let (mut joined, count) = (Vec::<u8>::new(), parts.len());
            for (at, part) in parts.iter().enumerate() {
                prop_assert!(part.content_length() == len || at + 1 == count && part.content_length() > 0);
                joined.extend(part.iter().flatten());
            }
            prop_assert_eq!(joined, whole);
        }
    }
}
