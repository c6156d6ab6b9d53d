//! The stage functions, with what they need: made once, shared by all threads.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millrace_storage::{BlobStore, FirstSeen};

use crate::authenticate::{Authenticator, Dns, DnsError, Sender};
use crate::guard::guarded_future;
use crate::spam::{ModelError, SpamFilter};
use crate::virus::{RuleError, VirusScanner};
use crate::{body, duplicate, summary};

/// What the stages work with.
pub struct StageOptions {
    /// Where bodies are read from.
    pub blobs: Arc<dyn BlobStore>,
    /// Who answers first-seen.
    pub first_seen: Arc<dyn FirstSeen>,
    /// Whom `authenticate` asks.
    pub dns: Dns,
    /// Virus rules of the operator's own, beside those built in.
    pub rules_dir: Option<PathBuf>,
}

/// Why the stages cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error(transparent)]
    Rules(#[from] RuleError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// The stage functions. Each is bounded in time and memory and never panics: an error is a value,
/// `{"error": …, "version": …}`.
pub struct Stages {
    blobs: Arc<dyn BlobStore>,
    first_seen: Arc<dyn FirstSeen>,
    authenticator: Authenticator,
    scanner: VirusScanner,
    filter: SpamFilter,
}

impl Stages {
    /// Compiles the virus rules, loads the spam model and prepares the resolver.
    ///
    /// # Errors
    /// A rule file is wrong (with file and line), or there is no resolver.
    pub fn new(options: StageOptions) -> Result<Self, StageError> {
        Ok(Self {
            authenticator: Authenticator::new(&options.dns)?,
            scanner: VirusScanner::new(options.rules_dir.as_deref())?,
            filter: SpamFilter::built_in()?,
            blobs: options.blobs,
            first_seen: options.first_seen,
        })
    }

    /// The body at `reference`; None when there is none that can be served (not found, damaged).
    ///
    /// # Errors
    /// The store did not answer for several seconds: the record is to be tried again.
    pub async fn fetch_body(&self, reference: &str) -> Result<Option<Bytes>, String> {
        guarded_future("fetch body", body::fetch(self.blobs.as_ref(), reference)).await.flatten()
    }

    /// JSON of [`crate::Summary`].
    pub fn summarise(&self, raw: &[u8]) -> String {
        summary::summarise_to_json(raw)
    }

    /// JSON of [`crate::AuthVerdict`], within 5 s. `reverse_path` is None for the null reverse-path.
    pub async fn authenticate(
        &self,
        raw: &[u8],
        remote_ip: &str,
        helo: &str,
        reverse_path: Option<&str>,
        server_name: &str,
    ) -> String {
        let sender = Sender::new(remote_ip, helo, reverse_path, server_name);
        Box::pin(self.authenticator.authenticate(raw, sender)).await
    }

    /// JSON of [`crate::VirusVerdict`].
    pub fn scan_virus(&self, raw: &[u8]) -> String {
        self.scanner.scan(raw)
    }

    /// JSON of [`crate::SpamVerdict`]. `auth` is what [`Stages::authenticate`] gave.
    pub fn score_spam(&self, raw: &[u8], auth: &str) -> String {
        self.filter.score(raw, auth)
    }

    /// `{"first": <message id of the first claimant>}`. `recipient` is `account address`.
    ///
    /// # Errors
    /// The store did not answer: the record is to be tried again.
    pub async fn first_seen(
        &self,
        recipient: &str,
        body_digest: &str,
        message_id: &str,
        received_at_us: i64,
    ) -> Result<String, String> {
        let claim = duplicate::claim(self.first_seen.as_ref(), recipient, body_digest, message_id, received_at_us);
        guarded_future("first seen", claim).await.flatten()
    }

    /// The hash of the virus rules in use.
    pub fn rules_version(&self) -> &str {
        self.scanner.version()
    }

    /// The spam model in use.
    pub fn model_version(&self) -> &str {
        self.filter.version()
    }
}
