use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{Error, ObjectStore, ObjectStoreExt, path::Path};

use super::attempts::Attempt;
use super::cache::Cache;
use super::gather::Gathering;
use super::{Attempts, INLINE_BYTES, S3PackOptions, reason};
use crate::blob::{BlobError, BodyRef};
use crate::packs::entry::MAX_ENTRY_BYTES;
use crate::packs::{is_name, open_entry};

/// Reads entries at their place; keeps bodies that were read last.
pub(super) struct Reader {
    store: Arc<dyn ObjectStore>,
    root: Path,
    timeout: Duration,
    attempt_timeout: Duration,
    cache: Cache,
    gathering: Arc<Gathering>,
}

impl Reader {
    pub(super) fn new(store: Arc<dyn ObjectStore>, root: Path, options: &S3PackOptions) -> Self {
        let (timeout, attempt_timeout) = (options.get_timeout, options.attempt_timeout);
        let gathering = Gathering::new(store.clone(), attempt_timeout);
        Self { store, root, timeout, attempt_timeout, cache: Cache::new(options.cache_bytes), gathering }
    }

    pub(super) async fn read(&self, reference: &BodyRef) -> Result<Bytes, BlobError> {
        if !is_name(reference) {
            return Err(BlobError::NotFound(reference.clone()));
        }
        if let Some(body) = self.cache.get(reference) {
            return Ok(body);
        }
        let object = self.root.clone().join_pack(&reference.pack);
        let bytes = match self.gathering.read(&object, reference).await {
            Some(bytes) => bytes,
            None => self.fetch(&object, reference).await?,
        };
        let body = if bytes.len() <= INLINE_BYTES {
            open_entry(reference, &bytes)?
        } else {
            let wanted = reference.clone();
            tokio::task::spawn_blocking(move || open_entry(&wanted, &bytes))
                .await
                .map_err(|error| BlobError::Unavailable(format!("reading stopped: {error}")))??
        };
        self.cache.put(reference, &body);
        Ok(body)
    }

    /// One entry by itself, tried again until the time is over.
    async fn fetch(&self, object: &Path, reference: &BodyRef) -> Result<Bytes, BlobError> {
        let damaged = |reason: &str| BlobError::Damaged { reference: reference.clone(), reason: reason.to_owned() };
        let end =
            reference.offset.checked_add(reference.length).ok_or_else(|| damaged("it would end beyond any pack"))?;
        if reference.length == 0 || reference.length > MAX_ENTRY_BYTES {
            return Err(damaged("no entry has that length"));
        }
        let mut attempts = Attempts::new(self.timeout, self.attempt_timeout);
        loop {
            let failure = match attempts.attempt(self.store.get_range(object, reference.offset..end)).await {
                Attempt::Answered(Ok(bytes)) if bytes.len() as u64 == reference.length => return Ok(bytes),
                Attempt::Answered(Ok(bytes)) => {
                    return Err(damaged(&format!("it is cut off: {} bytes are there", bytes.len())));
                }
                Attempt::Answered(Err(Error::NotFound { source, .. })) if !is_about_bucket(&*source) => {
                    return Err(BlobError::NotFound(reference.clone()));
                }
                Attempt::Answered(Err(error)) => {
                    // Asked for only now, since it takes another request: whether there is anything at that place.
                    if let Attempt::Answered(Ok(object)) = attempts.attempt(self.store.head(object)).await
                        && object.size < end
                    {
                        return Err(damaged(&format!("it is cut off: the pack has {} bytes", object.size)));
                    }
                    reason(&error)
                }
                Attempt::Silent => "S3 does not answer".to_owned(),
            };
            if !attempts.pause().await {
                return Err(BlobError::Unavailable(failure));
            }
        }
    }
}

/// A bucket that was taken away is no proof that a body was.
fn is_about_bucket(source: &(dyn std::error::Error + Send + Sync)) -> bool {
    source.to_string().contains("NoSuchBucket")
}

/// The object of a pack.
pub(super) trait PackPath {
    fn join_pack(self, pack: &str) -> Path;
}

impl PackPath for Path {
    fn join_pack(self, pack: &str) -> Path {
        pack.split('/').fold(self, |path, part| path.join(part))
    }
}
