//! Whether a bucket can be used, found out by trying.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult};

use super::object_store::told;
use super::{S3Error, S3Options};

/// What a trial found, or why the bucket does not pass it.
type Tried = Result<&'static str, String>;

/// Does with objects of its own what packs, tables and search shards rest on: creates one, and is refused to create it
/// again; replaces it, and is refused to replace what it no longer is; reads a part, lists, uploads in parts, deletes.
/// Gives what was found, a line each.
///
/// # Errors
/// The first that does not work, and why.
pub async fn bucket(store: &Arc<dyn ObjectStore>, options: &S3Options) -> Result<Vec<String>, S3Error> {
    let failed = |reason: String| S3Error { bucket: options.bucket.clone(), reason };
    let within = |name: &str| {
        let parts = options.prefix.split('/').filter(|part| !part.is_empty());
        Path::from_iter(parts.chain(name.split('/')))
    };
    let probe = Probe { store, folder: within(&format!("probe/{}", ulid::Ulid::new())), packs: within("blobs") };
    let created = probe.put("0123456789", PutMode::Create).await;
    let created = created.map_err(but("an object cannot be created")).map_err(failed)?;
    let tried = probe.all(created).await;
    // Also what was tried in vain has left something.
    let deleted = probe.delete().await;
    let mut found = tried.map_err(failed)?;
    found.push(deleted.map_err(failed)?);
    Ok(found.into_iter().map(str::to_owned).collect())
}

struct Probe<'a> {
    store: &'a Arc<dyn ObjectStore>,
    /// Where its objects are.
    folder: Path,
    /// Where bodies are.
    packs: Path,
}

impl Probe<'_> {
    async fn all(&self, created: PutResult) -> Result<Vec<&'static str>, String> {
        Ok(vec![
            self.creates_once().await?,
            self.replaces_what_it_knows(created).await?,
            self.reads_a_part().await?,
            self.lists().await?,
            self.uploads_in_parts().await?,
        ])
    }

    fn object(&self) -> Path {
        self.folder.clone().join("object")
    }

    fn parts(&self) -> Path {
        self.folder.clone().join("parts")
    }

    async fn put(&self, content: &'static str, mode: PutMode) -> object_store::Result<PutResult> {
        self.store.put_opts(&self.object(), PutPayload::from_static(content.as_bytes()), PutOptions::from(mode)).await
    }

    async fn creates_once(&self) -> Tried {
        match self.put("abcdefghij", PutMode::Create).await {
            Err(error) if is_refused(&error) => Ok("objects are created, and never over another"),
            Err(error) => Err(format!("a second creation: {}", told(&error))),
            Ok(_) => {
                Err("it writes over an object that was to be created (If-None-Match is not heeded), which packs and \
                          tables rest on; use a store that heeds it"
                    .to_owned())
            }
        }
    }

    /// As a search shard's manifest is, by which whoever has lost the shard is fenced off.
    async fn replaces_what_it_knows(&self, created: PutResult) -> Tried {
        let what = "an object cannot be replaced by who knows its ETag (If-Match)";
        let replaced = self.put("ABCDEFGHIJ", PutMode::Update(created.clone().into())).await.map_err(but(what))?;
        if replaced.e_tag == created.e_tag {
            return Err("another content has the same ETag: search shards rest on it to tell them apart".to_owned());
        }
        match self.put("abcdefghij", PutMode::Update(created.into())).await {
            Err(error) if is_refused(&error) => Ok("objects are replaced by who knows what they are, and by no other"),
            Err(error) => Err(format!("a replacement with an ETag of before: {}", told(&error))),
            Ok(_) => {
                Err("it replaces an object that has changed meanwhile (If-Match is not heeded), so two processes \
                          would write one search shard; use a store that heeds it"
                    .to_owned())
            }
        }
    }

    async fn reads_a_part(&self) -> Tried {
        let part = self.store.get_range(&self.object(), 3..6).await.map_err(but("a part cannot be read"))?;
        if part != "DEF" {
            return Err("a part of an object reads as another".to_owned());
        }
        Ok("parts of objects are read")
    }

    /// Bodies, as every start does, and what was put just now.
    async fn lists(&self) -> Tried {
        let first = self.store.list(Some(&self.packs)).try_next().await;
        first.map_err(but("the names of bodies cannot be listed"))?;
        let found: Vec<_> =
            self.store.list(Some(&self.folder)).try_collect().await.map_err(but("names cannot be listed"))?;
        if !found.iter().any(|object| object.location == self.object()) {
            return Err("an object that was put is not listed".to_owned());
        }
        Ok("names are listed")
    }

    /// As large packs and files of tables are.
    async fn uploads_in_parts(&self) -> Tried {
        let what = "an upload in parts cannot be begun";
        let mut upload = self.store.put_multipart(&self.parts()).await.map_err(but(what))?;
        let outcome = match upload.put_part(PutPayload::from_static(b"0123456789")).await {
            Ok(()) => upload.complete().await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            // What was sent is not left lying about, where that can be helped.
            let _ = upload.abort().await;
            return Err(format!("an upload in parts: {}", told(&error)));
        }
        let size = self.store.head(&self.parts()).await.map_err(but("what was uploaded in parts"))?.size;
        if size != 10 {
            return Err(format!("what was uploaded in parts has {size} bytes and should have 10"));
        }
        Ok("uploads go in parts")
    }

    /// What was put, however far that came.
    async fn delete(&self) -> Tried {
        for object in [self.parts(), self.object()] {
            match self.store.delete(&object).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(format!("an object cannot be deleted: {}; remove {object}", told(&error))),
            }
        }
        Ok("objects are deleted")
    }
}

fn but(what: &str) -> impl FnOnce(Error) -> String {
    move |error| format!("{what}: {}", told(&error))
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fmt;

    use async_trait::async_trait;
    use futures::stream::{self, BoxStream, StreamExt};
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, Result,
    };

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        IgnoresIfNoneMatch,
        IgnoresIfMatch,
        RefusesIfMatch,
        ListsNothing,
        NoParts,
    }

    /// A store in memory that does not do one thing.
    #[derive(Debug)]
    struct Faulty(InMemory, Option<Fault>);

    impl fmt::Display for Faulty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("faulty")
        }
    }

    #[async_trait]
    impl ObjectStore for Faulty {
        async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
            match (self.1, &options.mode) {
                (Some(Fault::IgnoresIfNoneMatch), PutMode::Create)
                | (Some(Fault::IgnoresIfMatch), PutMode::Update(_)) => options.mode = PutMode::Overwrite,
                (Some(Fault::RefusesIfMatch), PutMode::Update(_)) => {
                    return Err(Error::NotImplemented {
                        operation: "If-Match".to_owned(),
                        implementer: "faulty".to_owned(),
                    });
                }
                _ => {}
            }
            self.0.put_opts(location, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            if self.1 == Some(Fault::NoParts) {
                return Err(Error::NotImplemented {
                    operation: "uploads".to_owned(),
                    implementer: "faulty".to_owned(),
                });
            }
            self.0.put_multipart_opts(location, options).await
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(location, options).await
        }

        fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            if self.1 == Some(Fault::ListsNothing) {
                return stream::empty().boxed();
            }
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    /// What is found, once it is sure that nothing was left behind.
    async fn probed(fault: Option<Fault>) -> std::result::Result<Vec<String>, String> {
        let store: Arc<dyn ObjectStore> = Arc::new(Faulty(InMemory::new(), fault));
        let options = S3Options { prefix: "some/where".to_owned(), ..S3Options::new("mail") };
        let found = bucket(&store, &options).await.map_err(|error| error.to_string());
        if fault != Some(Fault::ListsNothing) {
            assert!(store.list(None).next().await.is_none(), "{fault:?} leaves objects behind");
        }
        found
    }

    #[tokio::test]
    async fn a_store_that_does_it_all_passes_and_is_left_as_it_was() {
        let found = probed(None).await.unwrap();
        assert_eq!(found.len(), 6, "{found:?}");
    }

    #[tokio::test]
    async fn what_a_store_does_not_do_is_told() {
        for (fault, told) in [
            (Fault::IgnoresIfNoneMatch, "If-None-Match is not heeded"),
            (Fault::IgnoresIfMatch, "If-Match is not heeded"),
            (Fault::RefusesIfMatch, "cannot be replaced"),
            (Fault::ListsNothing, "not listed"),
            (Fault::NoParts, "upload in parts"),
        ] {
            let refusal = probed(Some(fault)).await.unwrap_err();
            assert!(refusal.contains(told), "{fault:?}: {refusal}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs S3: compose/native/test"]
    async fn a_real_store_passes_and_is_left_as_it_was() {
        let service = |variable| std::env::var(variable).unwrap_or_else(|_| panic!("{variable} says where S3 is"));
        let options = S3Options {
            endpoint: Some(service("MILLRACE_TEST_S3")),
            prefix: format!("probe-{}", ulid::Ulid::new()),
            access_key: Some(service("MILLRACE_TEST_S3_KEY")),
            secret_key: Some(crate::Secret::new(service("MILLRACE_TEST_S3_SECRET"))),
            ..S3Options::new("millrace")
        };
        let store = crate::cluster::object_store::build(&options).unwrap();
        bucket(&store, &options).await.unwrap();
        let left: Vec<_> = store.list(Some(&Path::from(options.prefix))).try_collect().await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}
