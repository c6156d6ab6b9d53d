//! Files of tables on a local disk, durable before they are named anywhere: a file is synced, and so is every folder
//! that was made or changed for it. The `iceberg` crate's own local storage syncs neither metadata nor folders.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, LocalFsStorage, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Access to table files with [`DurableStorage`].
pub(super) fn file_io() -> FileIO {
    FileIOBuilder::new(Arc::new(DurableStorageFactory)).build()
}

/// The path of a `file://` location.
pub(super) fn local_path(location: &str) -> &Path {
    Path::new(location.strip_prefix("file://").unwrap_or(location))
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DurableStorageFactory;

#[typetag::serde]
impl StorageFactory for DurableStorageFactory {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(DurableStorage { reader: LocalFsStorage::new() }))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DurableStorage {
    reader: LocalFsStorage,
}

#[async_trait]
#[typetag::serde]
impl Storage for DurableStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        self.reader.exists(path).await
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        self.reader.metadata(path).await
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        self.reader.read(path).await
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        self.reader.reader(path).await
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        let mut writer = self.writer(path).await?;
        writer.write(bytes).await?;
        writer.close().await
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(DurableWriter { path: local_path(path).to_owned(), chunks: Some(Vec::new()) }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.reader.delete(path).await
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        self.reader.delete_prefix(path).await
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> Result<()> {
        self.reader.delete_stream(paths).await
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

/// Gathers what is written (files here are a few megabytes) and writes it out, synced, on close.
struct DurableWriter {
    path: PathBuf,
    chunks: Option<Vec<Bytes>>,
}

#[async_trait]
impl FileWrite for DurableWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let chunks = self.chunks.as_mut().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the file is closed"))?;
        chunks.push(bytes);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let path = self.path.clone();
        let chunks = self.chunks.take().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the file is closed"))?;
        let written = tokio::task::spawn_blocking(move || create_synced(&path, &chunks)).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| {
            let message = format!("cannot write {}: {error}", self.path.display());
            Error::new(ErrorKind::Unexpected, message).with_source(error)
        })
    }
}

/// Creates a file that must not exist yet, with its folders, and syncs it and them.
fn create_synced(path: &Path, chunks: &[Bytes]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("the path has no folder"))?;
    create_folders_synced(folder)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    for chunk in chunks {
        file.write_all(chunk)?;
    }
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

pub(in crate::tables) fn create_folders_synced(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().ok_or_else(|| io::Error::other("the path has no folder"))?;
    create_folders_synced(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_file_is_whole_after_close_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let location = format!("file://{}/a/b/c.avro", dir.path().display());
        let output = file_io().new_output(&location).unwrap();
        let mut writer = output.writer().await.unwrap();
        writer.write(Bytes::from_static(b"one ")).await.unwrap();
        assert!(!output.exists().await.unwrap());
        writer.write(Bytes::from_static(b"two")).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(fs::read(local_path(&location)).unwrap(), b"one two");
        assert!(writer.close().await.is_err());
        assert!(output.write(Bytes::from_static(b"again")).await.is_err());
        assert_eq!(fs::read(local_path(&location)).unwrap(), b"one two");
    }
}
