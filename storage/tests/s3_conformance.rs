//! Packs on S3 pass the suite that every adapter must pass.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use millrace_storage::cluster::{S3Options, S3PackOptions, S3Packs, object_store};
use millrace_storage::conformance::{self, Place};
use millrace_storage::{BlobStore, Secret};
use support::{service, unique};

struct OnS3(S3Options, S3PackOptions);

impl OnS3 {
    fn new(options: S3PackOptions) -> Self {
        let s3 = S3Options {
            endpoint: Some(service("MILLRACE_TEST_S3")),
            prefix: unique("test"),
            access_key: Some(service("MILLRACE_TEST_S3_KEY")),
            secret_key: Some(Secret::new(service("MILLRACE_TEST_S3_SECRET"))),
            ..S3Options::new("millrace")
        };
        Self(s3, options)
    }
}

#[async_trait]
impl Place<dyn BlobStore> for OnS3 {
    async fn open(&self) -> Arc<dyn BlobStore> {
        let store = object_store::build(&self.0).unwrap();
        Arc::new(S3Packs::open(store, &self.0, self.1.clone()).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn the_packs_conform() {
    conformance::blob::all(&OnS3::new(S3PackOptions::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn packs_of_one_body_conform() {
    conformance::blob::all(&OnS3::new(S3PackOptions { max_pack_bytes: 1, ..Default::default() })).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3: compose/native/test"]
async fn packs_in_parts_conform() {
    conformance::blob::all(&OnS3::new(S3PackOptions { multipart_bytes: 1000, ..Default::default() })).await;
}
