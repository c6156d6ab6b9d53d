//! Stores and catalogs that fail where a test wants it.
#![allow(clippy::unwrap_used)]

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use crate::tables::catalog::{Pointers, Sqlite, Swap};
use crate::tables::{CatalogError, Table};

/// Which puts fail, by a part of their key.
#[derive(Clone, Copy, Debug)]
pub(super) enum PutFault {
    /// For good.
    Refused(&'static str),
    /// The object is there, and the first answer is lost.
    Unheard(&'static str),
    /// There is never an answer.
    Unanswered(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct FaultyStore {
    inner: InMemory,
    pub(super) fault: Mutex<Option<PutFault>>,
    unheard: Mutex<Vec<Path>>,
    /// Puts that wait for an answer have one more.
    pub(super) waiting: Arc<()>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that fails")
    }
}

fn lost(reason: &str) -> Error {
    Error::Generic { store: "test", source: reason.to_owned().into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = *self.fault.lock();
        match fault {
            Some(PutFault::Refused(part)) if location.as_ref().contains(part) => {
                Err(Error::PermissionDenied { path: location.to_string(), source: "refused by a test".into() })
            }
            Some(PutFault::Unheard(part)) if location.as_ref().contains(part) => {
                let outcome = self.inner.put_opts(location, payload, options).await;
                let mut unheard = self.unheard.lock();
                if unheard.contains(location) {
                    return outcome;
                }
                unheard.push(location.clone());
                Err(lost("the answer got lost"))
            }
            Some(PutFault::Unanswered(part)) if location.as_ref().contains(part) => {
                let _waiting = self.waiting.clone();
                std::future::pending().await
            }
            _ => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// What happens to the next calls of a catalog.
#[derive(Clone, Debug)]
pub(super) enum CatalogFault {
    /// The swap is made, and nobody hears of it.
    DoneUnheard,
    /// The swap is not made, and nobody hears of it.
    LostUnheard,
    /// The swap is made after this long, and nobody hears of it.
    Late(Duration),
    /// The location that was current once.
    Stale(String),
}

/// Meets each fault once.
#[derive(Clone)]
pub(super) struct FaultyPointers {
    pub(super) inner: Sqlite,
    pub(super) faults: Arc<Mutex<Vec<CatalogFault>>>,
}

impl FaultyPointers {
    pub(super) fn new(inner: Sqlite) -> Self {
        Self { inner, faults: Arc::default() }
    }

    fn unheard() -> Swap {
        Swap::Unknown(CatalogError::Unavailable { at: "test".to_owned(), reason: "no answer".to_owned() })
    }
}

#[async_trait]
impl Pointers for FaultyPointers {
    async fn all(&self) -> std::result::Result<Vec<(Table, String)>, CatalogError> {
        self.inner.all().await
    }

    async fn get(&self, table: Table) -> std::result::Result<Option<String>, CatalogError> {
        let stale = self.faults.lock().pop_if(|fault| matches!(fault, CatalogFault::Stale(_)));
        match stale {
            Some(CatalogFault::Stale(location)) => Ok(Some(location)),
            _ => self.inner.get(table).await,
        }
    }

    async fn insert(&self, table: Table, location: &str) -> std::result::Result<bool, CatalogError> {
        self.inner.insert(table, location).await
    }

    async fn swap(&self, table: Table, expected: &str, next: &str) -> std::result::Result<Swap, CatalogError> {
        let fault = self.faults.lock().pop();
        match fault {
            Some(CatalogFault::DoneUnheard) => {
                self.inner.swap(table, expected, next).await?;
                Ok(Self::unheard())
            }
            Some(CatalogFault::LostUnheard) => Ok(Self::unheard()),
            Some(CatalogFault::Late(pause)) => {
                let (inner, expected, next) = (self.inner.clone(), expected.to_owned(), next.to_owned());
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    inner.swap(table, &expected, &next).await.unwrap();
                });
                Ok(Self::unheard())
            }
            _ => self.inner.swap(table, expected, next).await,
        }
    }
}
