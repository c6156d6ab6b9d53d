//! Whether a bucket can be used, found out by trying.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::object_store::told;
use super::{S3Error, S3Options};

/// Creates an object, is refused to create it again, reads a part of it and deletes it: what packs, tables and shards
/// rest on. Gives what was found, a line each.
///
/// # Errors
/// The first that does not work, and why.
pub async fn bucket(store: &Arc<dyn ObjectStore>, options: &S3Options) -> Result<Vec<String>, S3Error> {
    let failed = |what: &str, error: Error| S3Error {
        bucket: options.bucket.clone(),
        reason: format!("{what}: {}", told(&error)),
    };
    let name = format!("probe/{}", ulid::Ulid::new());
    let parts = options.prefix.split('/').filter(|part| !part.is_empty()).chain(name.split('/'));
    let path = Path::from_iter(parts);
    let create = || PutOptions::from(PutMode::Create);
    let payload = || PutPayload::from_static(b"0123456789");
    store.put_opts(&path, payload(), create()).await.map_err(|error| failed("an object cannot be created", error))?;
    let again = store.put_opts(&path, payload(), create()).await;
    let read = store.get_range(&path, 3..6).await;
    store.delete(&path).await.map_err(|error| failed("an object cannot be deleted", error))?;
    let reason = match (again, read) {
        (Err(Error::AlreadyExists { .. } | Error::Precondition { .. }), Ok(part)) if part == "345" => {
            let done =
                ["objects are created, and never over another", "parts of objects are read", "objects are deleted"];
            return Ok(done.map(str::to_owned).to_vec());
        }
        (Ok(_), _) => "it writes over an object that was to be created (If-None-Match is not heeded)".to_owned(),
        (Err(Error::AlreadyExists { .. } | Error::Precondition { .. }), Ok(_)) => {
            "a part of an object reads as another".to_owned()
        }
        (Err(Error::AlreadyExists { .. } | Error::Precondition { .. }), Err(error)) => {
            format!("a part cannot be read: {}", told(&error))
        }
        (Err(error), _) => format!("a second creation: {}", told(&error)),
    };
    Err(S3Error { bucket: options.bucket.clone(), reason })
}
