//! How S3, or what speaks its protocol, is reached: one client that packs, tables and search shards share.

use std::iter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};

use crate::Secret;
use crate::cluster::keys::Keys;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const MAX_RETRIES: usize = 8;

/// Where the objects are, and how long S3 is waited for.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// `http://host:port` or `https://host`, with the bucket in the path of requests; default: AWS, in `region`.
    pub endpoint: Option<String>,
    /// Default: `us-east-1`.
    pub region: String,
    pub bucket: String,
    /// What every name begins with; default: nothing. Packs are under `<prefix>/blobs`.
    pub prefix: String,
    /// Default, with `secret_key`: what AWS's own tools would find (environment, web identity, container, instance).
    pub access_key: Option<String>,
    pub secret_key: Option<Secret>,
    /// PEM certificates of the authority that signed the server's, trusted besides those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take, its answer included. Default: 30 s.
    pub request_timeout: Duration,
    /// How long a connection may take to be made. Default: 3 s.
    pub connect_timeout: Duration,
    /// How long requests that can be repeated are, when the server fails or throttles. Default: 20 s.
    pub retry_timeout: Duration,
}

impl S3Options {
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".to_owned(),
            bucket: bucket.into(),
            prefix: String::new(),
            access_key: None,
            secret_key: None,
            ca_file: None,
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(3),
            retry_timeout: Duration::from_secs(20),
        }
    }
}

const KEYS: Keys = Keys {
    ca_file: "s3.ca_file",
    login: "s3.access_key and s3.secret_key",
    place: "s3.endpoint, s3.region and s3.bucket",
};

/// Why S3 cannot be used at a start.
#[derive(Debug, thiserror::Error)]
#[error("S3 bucket {bucket} cannot be used: {reason}; check {}", KEYS.for_reason(.reason))]
pub struct S3Error {
    pub bucket: String,
    pub reason: String,
}

/// A client; nothing is asked of the server yet.
///
/// # Errors
/// When the options do not make sense.
pub fn build(options: &S3Options) -> Result<Arc<dyn ObjectStore>, S3Error> {
    let failed = |reason: String| S3Error { bucket: options.bucket.clone(), reason };
    let mut client = ClientOptions::new()
        .with_timeout(options.request_timeout)
        .with_connect_timeout(options.connect_timeout)
        .with_allow_http(options.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")));
    if let Some(file) = &options.ca_file {
        let pem = std::fs::read(file).map_err(|error| failed(format!("{} cannot be read: {error}", file.display())))?;
        let certificates = Certificate::from_pem_bundle(&pem);
        let certificates = certificates.map_err(|error| failed(format!("{}: {error}", file.display())))?;
        if certificates.is_empty() {
            return Err(failed(format!("{} has no certificate", file.display())));
        }
        client = certificates.into_iter().fold(client, ClientOptions::with_root_certificate);
    }
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 2.0 },
        max_retries: MAX_RETRIES,
        retry_timeout: options.retry_timeout,
    };
    let mut builder = match (&options.access_key, &options.secret_key) {
        (Some(access_key), Some(secret_key)) => {
            AmazonS3Builder::new().with_access_key_id(access_key).with_secret_access_key(secret_key.reveal())
        }
        (None, None) => AmazonS3Builder::from_env(),
        _ => return Err(failed("access_key and secret_key must be set both or neither".to_owned())),
    };
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder
        .with_region(&options.region)
        .with_bucket_name(&options.bucket)
        .with_client_options(client)
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .build();
    Ok(Arc::new(store.map_err(|error| failed(error.to_string()))?))
}

/// Of an answer, whose first part is what matters.
const MAX_CHARACTERS: usize = 600;

/// The error in one line, with the cause that lies deepest, which its own text may leave out.
pub(super) fn told(error: &object_store::Error) -> String {
    let deepest = iter::successors(std::error::Error::source(error), |error| error.source()).last();
    let (said, cause) = (in_one_line(error), deepest.map(in_one_line).unwrap_or_default());
    let begun: String = said.chars().take(MAX_CHARACTERS).collect();
    if said.contains(&cause) { begun } else { format!("{begun}: {cause}") }
}

fn in_one_line(error: impl std::fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("error sending request")]
    struct Request(#[source] Error);

    fn generic(source: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: Box::new(source) }
    }

    #[test]
    fn the_deepest_cause_is_told_once_and_in_one_line() {
        let hidden = told(&generic(Request(Error::other("invalid peer certificate"))));
        assert_eq!(hidden, "Generic S3 error: error sending request: invalid peer certificate");
        let shown = told(&generic(Error::other("403:\n<Code>SignatureDoesNotMatch</Code>")));
        assert_eq!(shown, "Generic S3 error: 403: <Code>SignatureDoesNotMatch</Code>");
        let long = told(&generic(Error::other("é".repeat(5000))));
        assert_eq!(long.chars().count(), MAX_CHARACTERS);
    }
}
