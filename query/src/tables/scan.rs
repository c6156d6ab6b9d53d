//! All rows of some files.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStreamBuilder};
use tokio::sync::mpsc;

use super::data::Data;
use super::footers::ReadCaches;
use super::object_reads::{ObjectReads, Opened};
use super::select::{BATCH_ROWS, mask};
use super::state::DataFileRef;
use super::{Table, TableError, conform};

/// Batches that are ready before somebody takes them.
const READY: usize = 4;

type Batches = mpsc::Sender<Result<RecordBatch, TableError>>;

struct Scan {
    table: Table,
    schema: SchemaRef,
    caches: Arc<ReadCaches>,
    sender: Batches,
}

/// Nobody listens any more.
struct Unheard;

/// The files' rows, file by file. Reading stops when the stream is dropped.
pub(super) fn scan(
    table: Table,
    files: Vec<Arc<DataFileRef>>,
    schema: SchemaRef,
    caches: Arc<ReadCaches>,
) -> BoxStream<'static, Result<RecordBatch, TableError>> {
    let (sender, receiver) = mpsc::channel(READY);
    let scan = Arc::new(Scan { table, schema, caches, sender });
    match scan.caches.objects.is_some() {
        true => drop(tokio::spawn(async move { scan.objects(files).await })),
        false => drop(tokio::task::spawn_blocking(move || scan.disk(&files))),
    }
    let next = |mut receiver: mpsc::Receiver<_>| async move { receiver.recv().await.map(|batch| (batch, receiver)) };
    stream::unfold(receiver, next).boxed()
}

impl Scan {
    /// Blocks.
    fn disk(&self, files: &[Arc<DataFileRef>]) {
        for file in files {
            let sent = Data::open(&file.path).and_then(|data| self.at_hand(file, data));
            if !self.goes_on(sent) {
                return;
            }
        }
    }

    /// Whether there is somebody to read more for.
    fn goes_on(&self, sent: Result<Result<(), Unheard>, TableError>) -> bool {
        match sent {
            Ok(Ok(())) => true,
            Ok(Err(Unheard)) => false,
            Err(error) => {
                // Nobody listens any more when this fails.
                let _ = self.sender.blocking_send(Err(error));
                false
            }
        }
    }

    /// Blocks.
    fn at_hand(&self, file: &DataFileRef, data: Data) -> Result<Result<(), Unheard>, TableError> {
        let footer = self.caches.footer(&file.path, &data)?;
        let mask = mask(&footer, &self.schema);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(data, footer);
        for batch in builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()? {
            let batch = conform(self.table, &batch?, &self.schema);
            if self.sender.blocking_send(batch).is_err() {
                return Ok(Err(Unheard));
            }
        }
        Ok(Ok(()))
    }

    async fn objects(self: Arc<Self>, files: Vec<Arc<DataFileRef>>) {
        let caches = self.caches.clone();
        let Some(objects) = &caches.objects else { return };
        for file in files {
            match self.clone().object(objects, file).await {
                Ok(Ok(())) => {}
                Ok(Err(Unheard)) => return,
                Err(error) => {
                    // Nobody listens any more when this fails.
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
            }
        }
    }

    async fn object(
        self: Arc<Self>,
        objects: &ObjectReads,
        file: Arc<DataFileRef>,
    ) -> Result<Result<(), Unheard>, TableError> {
        match objects.open_once(&file).await? {
            Opened::Large(reader) => self.large(&file, reader).await,
            Opened::Small(data) => tokio::task::spawn_blocking(move || self.at_hand(&file, data)).await?,
        }
    }

    async fn large(
        &self,
        file: &DataFileRef,
        mut reader: ParquetObjectReader,
    ) -> Result<Result<(), Unheard>, TableError> {
        let footer = self.caches.large_footer(&file.path, &mut reader).await?;
        let mask = mask(&footer, &self.schema);
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, footer);
        let mut rows = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()?;
        while let Some(batch) = rows.try_next().await? {
            let batch = conform(self.table, &batch, &self.schema);
            if self.sender.send(batch).await.is_err() {
                return Ok(Err(Unheard));
            }
        }
        Ok(Ok(()))
    }
}
