//! A shard in the object store: its manifest, which one owner at a time can replace, and the objects that it names.

use std::io::Write;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, WriteMultipart,
};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use uuid::Uuid;

use super::bundle;
use super::manifest::{Manifest, Object, Unreadable, epoch_of};
use crate::mail::search::error::SearchError;

const MANIFEST: &str = "manifest.json";
/// How long a request for a manifest, a small object or a list may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a large object may take to move on.
const STALL: Duration = Duration::from_secs(30);
/// Objects are sent in parts of this size, when they are larger.
const PART: usize = 8 << 20;
/// Parts on their way at the same time.
const PARTS: usize = 4;
/// Times that a manifest of ours may turn out to be there after all.
const ATTEMPTS: usize = 3;

/// A shard's place in the object store.
#[derive(Clone)]
pub(super) struct ShardStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    pub(super) partition: u32,
}

/// A manifest, and what the store calls this version of it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) manifest: Manifest,
    pub(super) version: UpdateVersion,
}

/// What a look for a newer manifest found.
pub(super) enum Look {
    Same,
    Missing,
    New(Box<Stored>),
}

/// A manifest that is there, or what is there instead.
type Found = Result<Manifest, Unreadable>;

/// Which of the things that cannot be read as a manifest give way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    /// What no version of ours can have meant.
    Damaged,
    /// Also what a newer version may have made: somebody asked for it.
    Any,
}

/// What a manifest is to follow.
pub(super) struct Before {
    pub(super) manifest: Manifest,
    /// Of what is replaced; none when nothing is there.
    pub(super) version: Option<UpdateVersion>,
    /// All objects of the shard, named or not.
    pub(super) listed: Vec<String>,
}

impl ShardStore {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: &str, partition: u32) -> Self {
        let prefix = Path::from(format!("{}/search/{partition}", prefix.trim_matches('/')));
        Self { store, prefix, partition }
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    /// The manifest, unless it is the one that is `known`.
    pub(super) async fn look(&self, known: Option<&UpdateVersion>) -> Result<Look, SearchError> {
        match self.found(known).await {
            Ok(Some((Ok(manifest), version))) => Ok(Look::New(Box::new(Stored { manifest, version }))),
            Ok(Some((Err(unreadable), _))) => Err(self.damaged(MANIFEST, unreadable.reason)),
            Ok(None) => Ok(Look::Missing),
            Err(Error::NotModified { .. }) => Ok(Look::Same),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn manifest(&self) -> Result<Option<Stored>, SearchError> {
        match self.look(None).await? {
            Look::New(stored) => Ok(Some(*stored)),
            Look::Missing | Look::Same => Ok(None),
        }
    }

    /// What is in the manifest's place, unless it is the version that is `known`.
    async fn found(&self, known: Option<&UpdateVersion>) -> Result<Option<(Found, UpdateVersion)>, Error> {
        let if_none_match = known.and_then(|version| version.e_tag.clone());
        let options = GetOptions { if_none_match, ..GetOptions::default() };
        let read = async {
            let found = self.store.get_opts(&self.path(MANIFEST), options).await?;
            let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            Ok((Manifest::decode(&found.bytes().await?), version))
        };
        match within(PATIENCE, read).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a claim or a request follows. What cannot be read as a manifest, or is not there, gives way to an empty one of
    /// the newest epoch; in place of the former it asks for a rebuild.
    ///
    /// # Errors
    /// [`SearchError::Damaged`] when a newer version may have made what is there, unless that is to be `replaced`, too.
    pub(super) async fn before(&self, replaced: Replaced) -> Result<Before, SearchError> {
        let found = self.found(None).await?;
        let listed = self.list().await?;
        let newest = listed.iter().filter_map(|name| epoch_of(name)).max().unwrap_or(0);
        let (manifest, version) = match found {
            Some((Ok(manifest), version)) => (manifest, Some(version)),
            Some((Err(unreadable), _)) if unreadable.is_newer && replaced == Replaced::Damaged => {
                return Err(self.damaged(MANIFEST, unreadable.reason));
            }
            Some((Err(Unreadable { reason, epoch, .. }), version)) => {
                tracing::error!(partition = self.partition, reason, "the manifest of a search index cannot be read");
                let rebuild = Some(Uuid::now_v7().to_string());
                (Manifest { epoch: newest.max(epoch), rebuild, ..Manifest::empty() }, Some(version))
            }
            None => (Manifest { epoch: newest, ..Manifest::empty() }, None),
        };
        Ok(Before { manifest, version, listed })
    }

    /// Replaces the manifest `before`, or makes the first. When the answer is lost, or a repeated request is refused for
    /// having succeeded, what is there tells.
    ///
    /// # Errors
    /// [`SearchError::Fenced`] when another has replaced it; after any other, it may still come to be replaced.
    pub(super) async fn replace(
        &self,
        mut before: Option<UpdateVersion>,
        manifest: Manifest,
    ) -> Result<Stored, SearchError> {
        for _ in 0..ATTEMPTS {
            let error = match self.put_manifest(before.as_ref(), &manifest).await {
                Ok(version) => return Ok(Stored { manifest, version }),
                Err(error) => error,
            };
            let is_refused = matches!(error, Error::Precondition { .. } | Error::AlreadyExists { .. });
            match self.readable().await? {
                Some(found) if found.manifest == manifest => return Ok(found),
                // An earlier one of ours, that was given up on too soon.
                Some(found) if is_refused && found.manifest.claim == manifest.claim => before = Some(found.version),
                found if is_refused => return Err(self.fenced(found)),
                _ => return Err(error.into()),
            }
        }
        Err(self.fenced(self.readable().await?))
    }

    /// The manifest, where there is one that can be read.
    async fn readable(&self) -> Result<Option<Stored>, SearchError> {
        let found = self.found(None).await?;
        Ok(found.and_then(|(manifest, version)| Some(Stored { manifest: manifest.ok()?, version })))
    }

    async fn put_manifest(&self, before: Option<&UpdateVersion>, manifest: &Manifest) -> Result<UpdateVersion, Error> {
        let mode = before.map_or(PutMode::Create, |version| PutMode::Update(version.clone()));
        let options = PutOptions { mode, ..PutOptions::default() };
        let path = self.path(MANIFEST);
        let put = self.store.put_opts(&path, PutPayload::from(manifest.encode()), options);
        Ok(within(PATIENCE, put).await?.into())
    }

    pub(super) fn fenced(&self, found: Option<Stored>) -> SearchError {
        let reason = match found {
            Some(found) => format!("it is at claim {} of epoch {}", found.manifest.claim, found.manifest.epoch),
            None => "its manifest is gone, or cannot be read".to_owned(),
        };
        SearchError::Fenced { partition: self.partition, reason }
    }

    pub(super) fn not_ready(&self, reason: &str) -> SearchError {
        SearchError::NotReady { partition: self.partition, reason: reason.to_owned() }
    }

    pub(super) fn damaged(&self, object: &str, reason: impl ToString) -> SearchError {
        SearchError::Damaged { partition: self.partition, object: object.to_owned(), reason: reason.to_string() }
    }

    /// Stores an object from its file.
    pub(super) async fn upload(&self, object: &Object, file: &FilePath) -> Result<(), SearchError> {
        let path = self.path(&object.name);
        if object.bytes <= PART as u64 {
            let bytes = tokio::fs::read(file).await?;
            within(PATIENCE, self.store.put(&path, PutPayload::from(bytes))).await?;
            return Ok(());
        }
        let mut file = tokio::fs::File::open(file).await?;
        let upload = within(PATIENCE, self.store.put_multipart(&path)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            within(STALL, upload.wait_for_capacity(PARTS)).await?;
            upload.write(&buffer[..read]);
        }
        within(STALL, upload.finish()).await?;
        Ok(())
    }

    /// Fetches an object to a file, which is whole and checked when it is there.
    ///
    /// # Errors
    /// [`SearchError::Missing`] when a newer manifest no longer names it, or [`SearchError::Damaged`].
    pub(super) async fn download(&self, object: &Object, file: &FilePath) -> Result<(), SearchError> {
        let missing = |error| match error {
            Error::NotFound { .. } => SearchError::Missing { partition: self.partition, object: object.name.clone() },
            error => error.into(),
        };
        let found = within(PATIENCE, self.store.get(&self.path(&object.name))).await.map_err(missing)?;
        if found.meta.size != object.bytes {
            let reason = format!("it has {} bytes instead of {}", found.meta.size, object.bytes);
            return Err(self.damaged(&object.name, reason));
        }
        let parent = file.parent().ok_or(std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        let mut temporary = tempfile::NamedTempFile::new_in(parent)?;
        let mut hasher = blake3::Hasher::new();
        let mut chunks = found.into_stream();
        while let Some(chunk) = within(STALL, async { chunks.next().await.transpose() }).await? {
            hasher.update(&chunk);
            temporary = tokio::task::spawn_blocking(move || temporary.write_all(&chunk).map(|()| temporary)).await??;
        }
        if hasher.finalize().to_hex().as_str() != object.blake3 {
            return Err(self.damaged(&object.name, "its checksum is wrong"));
        }
        let file = file.to_owned();
        tokio::task::spawn_blocking(move || bundle::keep(temporary, &file)).await??;
        Ok(())
    }

    /// Names of all objects but the manifest.
    pub(super) async fn list(&self) -> Result<Vec<String>, SearchError> {
        let list = self.store.list(Some(&self.prefix));
        let names = list.map_ok(|found| found.location.filename().unwrap_or_default().to_owned());
        let mut names: Vec<String> = within(PATIENCE, names.try_collect()).await?;
        names.retain(|name| name != MANIFEST);
        Ok(names)
    }

    /// Deletes an object that may be gone already.
    pub(super) async fn delete(&self, name: &str) -> Result<(), SearchError> {
        match within(PATIENCE, self.store.delete(&self.path(name))).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Bounds a request in time; the client's own retries are within it.
async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Generic { store: "search", source: format!("no answer within {limit:?}").into() };
    timeout(limit, request).await.unwrap_or_else(|_| Err(late()))
}
