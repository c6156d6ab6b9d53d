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

use super::bounded::Bounded;
use super::data::Data;
use super::footers::{ReadCaches, footer_options};
use super::state::DataFileRef;
use super::storage::Objects;
use super::{TableError, TableOptions};

/// Read from the end of a large file at first: mostly footer and page index are in it.
const FOOTER_BYTES: usize = 512 << 10;

/// A file that is being read, for all who want it at the same time.
type Pending = Arc<OnceCell<Bytes>>;

pub(super) struct ObjectReads {
    objects: Objects,
    /// Files up to this size are read whole: one request in place of four, one after the other.
    small_bytes: u64,
    small: Mutex<Bounded<Arc<str>, Bytes>>,
    pending: Mutex<HashMap<Arc<str>, Pending>>,
}

struct Turn<'a> {
    reads: &'a ObjectReads,
    path: Arc<str>,
    pending: Pending,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut all = self.reads.pending.lock();
        if all.get(&self.path).is_some_and(|current| Arc::ptr_eq(current, &self.pending)) {
            all.remove(&self.path);
        }
    }
}

/// A file to read.
pub(super) enum Opened {
    Small(Data),
    Large(ParquetObjectReader),
}

impl ObjectReads {
    pub(super) fn new(objects: Objects, options: TableOptions) -> Self {
        let small = Mutex::new(Bounded::new(options.file_cache_bytes));
        Self { objects, small_bytes: options.small_file_bytes, small, pending: Mutex::default() }
    }

    /// A file for reads of accounts: when it is small it stays in memory.
    pub(super) async fn open(&self, file: &DataFileRef) -> Result<Opened, TableError> {
        if file.size_bytes > self.small_bytes {
            return self.large(file);
        }
        if let Some(bytes) = self.small.lock().get(&file.path) {
            return Ok(Opened::Small(Data::Memory(bytes)));
        }
        let turn = self.turn(&file.path);
        let bytes = turn.pending.get_or_try_init(|| self.whole(file)).await.cloned()?;
        Ok(Opened::Small(Data::Memory(bytes)))
    }

    /// One read of a file for all who want it now.
    fn turn(&self, path: &Arc<str>) -> Turn<'_> {
        let pending = self.pending.lock().entry(path.clone()).or_default().clone();
        Turn { reads: self, path: path.clone(), pending }
    }

    /// A file for a scan of all rows, which leaves what is kept as it is.
    pub(super) async fn open_once(&self, file: &DataFileRef) -> Result<Opened, TableError> {
        if file.size_bytes > self.small_bytes {
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
