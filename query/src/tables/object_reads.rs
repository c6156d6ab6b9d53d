//! Data files of a bucket, as they are read: small ones whole, and kept in memory, since an account's newest mail is in
//! many of them; large ones by ranges.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::async_reader::ParquetObjectReader;
use tokio::sync::OnceCell;

use super::TableError;
use super::bounded::Bounded;
use super::data::Data;
use super::footers::{ReadCaches, footer_options};
use super::state::DataFileRef;
use super::storage::Objects;

/// Files up to this size are read whole: one request in place of four, one after the other.
const SMALL_BYTES: u64 = 4 << 20;
/// Read from the end of a large file at first: mostly footer and page index are in it.
const FOOTER_BYTES: usize = 512 << 10;

/// A file that is being read, for all who want it at the same time.
type Pending = Arc<OnceCell<Bytes>>;

pub(super) struct ObjectReads {
    objects: Objects,
    small: Mutex<Bounded<Arc<str>, Bytes>>,
    pending: Mutex<HashMap<Arc<str>, Pending>>,
}

/// A file to read.
pub(super) enum Opened {
    Small(Data),
    Large(ParquetObjectReader),
}

impl ObjectReads {
    pub(super) fn new(objects: Objects, limit_bytes: usize) -> Self {
        Self { objects, small: Mutex::new(Bounded::new(limit_bytes)), pending: Mutex::default() }
    }

    /// A file for reads of accounts: when it is small it stays in memory.
    pub(super) async fn open(&self, file: &DataFileRef) -> Result<Opened, TableError> {
        if file.size_bytes > SMALL_BYTES {
            return self.large(file);
        }
        if let Some(bytes) = self.small.lock().get(&file.path) {
            return Ok(Opened::Small(Data::Memory(bytes)));
        }
        let pending = self.pending.lock().entry(file.path.clone()).or_default().clone();
        let read = pending.get_or_try_init(|| self.whole(file)).await.cloned();
        let mut all = self.pending.lock();
        if all.get(&file.path).is_some_and(|current| Arc::ptr_eq(current, &pending)) {
            all.remove(&file.path);
        }
        drop(all);
        Ok(Opened::Small(Data::Memory(read?)))
    }

    /// A file for a scan of all rows, which leaves what is kept as it is.
    pub(super) async fn open_once(&self, file: &DataFileRef) -> Result<Opened, TableError> {
        if file.size_bytes > SMALL_BYTES {
            return self.large(file);
        }
        let known = self.small.lock().get(&file.path);
        let bytes = match known {
            Some(bytes) => bytes,
            None => self.get(file).await?,
        };
        Ok(Opened::Small(Data::Memory(bytes)))
    }

    fn large(&self, file: &DataFileRef) -> Result<Opened, TableError> {
        let reader = ParquetObjectReader::new(self.objects.store.clone(), key(file)?);
        Ok(Opened::Large(reader.with_file_size(file.size_bytes).with_footer_size_hint(FOOTER_BYTES)))
    }

    async fn whole(&self, file: &DataFileRef) -> Result<Bytes, TableError> {
        let bytes = self.get(file).await?;
        metrics::counter!("millrace_tables_file_reads_total").increment(1);
        self.small.lock().put(file.path.clone(), bytes.clone(), bytes.len());
        Ok(bytes)
    }

    async fn get(&self, file: &DataFileRef) -> Result<Bytes, TableError> {
        let key = key(file)?;
        let got = async { self.objects.store.get(&key).await?.bytes().await };
        got.await.map_err(|error| failed(file, error))
    }
}

fn key(file: &DataFileRef) -> Result<Path, TableError> {
    Path::parse(file.path.as_ref()).map_err(|error| failed(file, error.into()))
}

fn failed(file: &DataFileRef, source: object_store::Error) -> TableError {
    TableError::Object { path: file.path.to_string(), source }
}

impl ReadCaches {
    /// The footer and page index of a large file.
    pub(super) async fn large_footer(
        &self,
        path: &Arc<str>,
        reader: &mut ParquetObjectReader,
    ) -> Result<ArrowReaderMetadata, TableError> {
        if let Some(footer) = self.known_footer(path) {
            return Ok(footer);
        }
        let footer = ArrowReaderMetadata::load_async(reader, footer_options()).await?;
        self.keep_footer(path, &footer);
        Ok(footer)
    }
}
