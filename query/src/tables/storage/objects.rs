//! Files of tables as objects of a bucket, through `object_store`.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::Elsewhere;
use super::put::put_new;

/// Schemes that engines write for the same bucket.
const SCHEMES: [&str; 3] = ["s3://", "s3a://", "s3n://"];

/// A bucket and how it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    name: Arc<str>,
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl Objects {
    /// The bucket of a location such as `s3://bucket/prefix`.
    pub(in crate::tables) fn of_location(
        location: &str,
        store: Arc<dyn ObjectStore>,
    ) -> std::result::Result<Self, Elsewhere> {
        let elsewhere = || Elsewhere { location: location.to_owned(), place: "of the form s3://bucket/…".to_owned() };
        let rest = SCHEMES.iter().find_map(|scheme| location.strip_prefix(scheme)).ok_or_else(elsewhere)?;
        match rest.split('/').next() {
            Some(name) if !name.is_empty() => Ok(Self { name: name.into(), store }),
            _ => Err(elsewhere()),
        }
    }

    /// The bucket as a URL.
    pub(crate) fn url(&self) -> String {
        format!("s3://{}", self.name)
    }

    /// The key of a location in this bucket.
    pub(super) fn key(&self, location: &str) -> std::result::Result<Path, Elsewhere> {
        let rest = SCHEMES.iter().find_map(|scheme| location.strip_prefix(scheme));
        let key = rest.and_then(|rest| rest.strip_prefix(self.name.as_ref())?.strip_prefix('/'));
        let key = key.and_then(|key| Path::parse(key).ok());
        key.ok_or_else(|| Elsewhere { location: location.to_owned(), place: format!("in {}", self.url()) })
    }

    pub(super) fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(ObjectStorageFactory { objects: Some(self.clone()) })).build()
    }
}

/// The `iceberg` crate wants storages that can be serialized, which a connection cannot: one that comes out of its
/// serialized form reads nothing and says so. Nothing here serializes one.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ObjectStorageFactory {
    #[serde(skip)]
    objects: Option<Objects>,
}

#[typetag::serde]
impl StorageFactory for ObjectStorageFactory {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(ObjectStorage { objects: self.objects.clone() }))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ObjectStorage {
    #[serde(skip)]
    objects: Option<Objects>,
}

impl ObjectStorage {
    fn find(&self, location: &str) -> Result<(&dyn ObjectStore, Path)> {
        let objects = self.objects.as_ref();
        let objects = objects.ok_or_else(|| Error::new(ErrorKind::Unexpected, "a storage cannot leave its process"))?;
        let key = objects.key(location).map_err(|error| Error::new(ErrorKind::DataInvalid, error.to_string()))?;
        Ok((objects.store.as_ref(), key))
    }
}

fn failed(what: &str, location: &str, error: object_store::Error) -> Error {
    Error::new(ErrorKind::Unexpected, format!("cannot {what} {location}: {error}")).with_source(error)
}

#[async_trait]
#[typetag::serde]
impl Storage for ObjectStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        let (store, key) = self.find(path)?;
        match store.head(&key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("look for", path, error)),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let (store, key) = self.find(path)?;
        let meta = store.head(&key).await.map_err(|error| failed("look for", path, error))?;
        Ok(FileMetadata { size: meta.size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let (store, key) = self.find(path)?;
        let got = async { store.get(&key).await?.bytes().await };
        got.await.map_err(|error| failed("read", path, error))
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        self.find(path)?;
        Ok(Box::new(ObjectReader { storage: self.clone(), location: path.to_owned() }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (store, key) = self.find(path)?;
        put_new(store, &key, vec![bytes]).await.map_err(|error| failed("write", path, error))
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        self.find(path)?;
        Ok(Box::new(ObjectWriter { storage: self.clone(), location: path.to_owned(), chunks: Some(Vec::new()) }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (store, key) = self.find(path)?;
        match store.delete(&key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", path, error)),
        }
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let (store, prefix) = self.find(path)?;
        let keys = store.list(Some(&prefix)).map(|found| found.map(|meta| meta.location)).boxed();
        let mut deleted = store.delete_stream(keys);
        while let Some(outcome) = deleted.next().await {
            outcome.map_err(|error| failed("delete", path, error))?;
        }
        Ok(())
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct ObjectReader {
    storage: ObjectStorage,
    location: String,
}

#[async_trait]
impl FileRead for ObjectReader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let (store, key) = self.storage.find(&self.location)?;
        store.get_range(&key, range).await.map_err(|error| failed("read", &self.location, error))
    }
}

/// Gathers what is written (files here are a few megabytes) and puts it on close: before that there is no file.
struct ObjectWriter {
    storage: ObjectStorage,
    location: String,
    chunks: Option<Vec<Bytes>>,
}

#[async_trait]
impl FileWrite for ObjectWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let chunks = self.chunks.as_mut().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the file is closed"))?;
        chunks.push(bytes);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let chunks = self.chunks.take().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the file is closed"))?;
        let (store, key) = self.storage.find(&self.location)?;
        put_new(store, &key, chunks).await.map_err(|error| failed("write", &self.location, error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn only_locations_of_the_bucket_have_keys() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let objects = Objects::of_location("s3://mail/warehouse", store.clone()).unwrap();
        assert_eq!(objects.url(), "s3://mail");
        assert_eq!(objects.key("s3a://mail/a/day=2026-11-23/f").unwrap().as_ref(), "a/day=2026-11-23/f");
        for elsewhere in ["s3://mail2/a", "file:///mail/a", "/mail/a"] {
            assert!(objects.key(elsewhere).is_err(), "{elsewhere}");
        }
        assert!(Objects::of_location("file:///a", store.clone()).is_err());
        assert!(Objects::of_location("s3://", store).is_err());
    }

    #[tokio::test]
    async fn a_file_is_whole_after_close_and_never_overwritten() {
        let objects = Objects::of_location("s3://mail", Arc::new(InMemory::new())).unwrap();
        let output = objects.file_io().new_output("s3://mail/a/b.avro").unwrap();
        let mut writer = output.writer().await.unwrap();
        writer.write(Bytes::from_static(b"one ")).await.unwrap();
        assert!(!output.exists().await.unwrap());
        writer.write(Bytes::from_static(b"two")).await.unwrap();
        writer.close().await.unwrap();
        assert!(writer.close().await.is_err());
        assert!(output.write(Bytes::from_static(b"again")).await.is_err());
        let input = output.to_input_file();
        assert_eq!(input.read().await.unwrap(), "one two");
        assert_eq!(input.reader().await.unwrap().read(4..6).await.unwrap(), "tw");
        assert_eq!(input.metadata().await.unwrap().size, 7);
        objects.file_io().delete("s3://mail/a/b.avro").await.unwrap();
        objects.file_io().delete("s3://mail/a/b.avro").await.unwrap();
        assert!(!input.exists().await.unwrap());
    }
}
