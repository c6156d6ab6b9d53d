//! An object store that fails as asked.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Put,
    Get,
    Delete,
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Nothing is done.
    Refused,
    /// It is done, and its answer is lost.
    Lost,
    /// It is done after so many milliseconds.
    Slow(u64),
}

type Rule = Box<dyn FnMut(Request, &Path) -> Fault + Send>;

pub(super) struct Faults {
    store: Arc<dyn ObjectStore>,
    rule: Mutex<Rule>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faults({:?})", self.store)
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faults({})", self.store)
    }
}

fn failed() -> Error {
    Error::Generic { store: "faults", source: "as asked".into() }
}

impl Faults {
    pub(super) fn over(store: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self { store, rule: Mutex::new(Box::new(|_, _| Fault::None)) })
    }

    pub(super) fn set(&self, rule: impl FnMut(Request, &Path) -> Fault + Send + 'static) {
        *self.rule.lock() = Box::new(rule);
    }

    pub(super) fn heal(&self) {
        self.set(|_, _| Fault::None);
    }

    /// The store without faults.
    pub(super) fn inner(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    /// A shard's objects but its manifest.
    pub(super) async fn objects(&self, partition: u32) -> Vec<Path> {
        let prefix = Path::from(format!("test/search/{partition}"));
        let listed = self.store.list(Some(&prefix)).map_ok(|found| found.location);
        let mut paths: Vec<Path> = listed.try_collect().await.unwrap();
        paths.retain(|path| path.filename() != Some("manifest.json"));
        paths
    }

    /// Delays or refuses; true when the answer is to be lost.
    async fn meet(&self, request: Request, path: &Path) -> Result<bool> {
        let fault = (self.rule.lock())(request, path);
        match fault {
            Fault::None => Ok(false),
            Fault::Refused => Err(failed()),
            Fault::Lost => Ok(true),
            Fault::Slow(pause_ms) => {
                tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
                Ok(false)
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Faults {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_lost = self.meet(Request::Put, path).await?;
        let done = self.store.put_opts(path, payload, options).await?;
        if is_lost { Err(failed()) } else { Ok(done) }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.meet(Request::Put, path).await?;
        self.store.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.meet(Request::Get, path).await?;
        self.store.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let is_refused = (self.rule.lock())(Request::Delete, &Path::default()) == Fault::Refused;
        if is_refused {
            return futures::stream::iter([Err(failed())]).boxed();
        }
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let is_refused = (self.rule.lock())(Request::List, &Path::default()) == Fault::Refused;
        if is_refused {
            return futures::stream::iter([Err(failed())]).boxed();
        }
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
