//! The HTTP side of Millrace: JMAP (RFC 8620, RFC 8621, RFC 8887), push, health and metrics, on axum.
//!
//! A request goes through these modules:
//!
//! - [`serve`](mod@serve): connections; [`routes`]: paths
//! - [`auth`]: who asks
//! - [`jmap`]: requests, method calls, the objects
//! - [`mime`]: the structure of stored messages, for the properties that need the body
//! - [`download`], [`upload`], [`push`], [`snippet`]
//! - [`status`]: alive, ready, metrics; [`timing`]: how long requests take and how they end
//! - [`registry`]: the schema registry
//! - [`error`]: the one place where errors become HTTP and JMAP errors
//!
//! Not here: what an account holds (`query`), who has an account (`directory`), where bodies are (`storage`).

pub mod auth;
mod download;
pub mod error;
pub mod jmap;
mod media_type;
pub mod mime;
mod options;
mod push;
pub mod registry;
mod routes;
mod serve;
mod slots;
mod snippet;
mod stall;
pub mod status;
mod timing;
mod upload;

use std::sync::Arc;

use millrace_directory::Directory;
use millrace_query::mail::Mailboxes;
use millrace_storage::embedded::EmbeddedRevocations;
use millrace_storage::{BlobStore, Revocations};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use auth::sessions::Sessions;

pub use options::Options;
pub use registry::Registry;
pub use routes::router;
pub use serve::{ServeOptions, serve};
pub use status::Status;
pub use upload::key::UploadKey;

/// What the handlers share.
pub struct Api {
    pub mailboxes: Arc<Mailboxes>,
    pub blobs: Arc<dyn BlobStore>,
    pub directory: Arc<Directory>,
    pub options: Options,
    pub sessions: Sessions,
    throttle: auth::throttle::Throttle,
    request_slots: slots::Slots,
    push_slots: slots::Slots,
    upload_slots: slots::Slots,
    /// A permit for each byte that uploads under way may hold.
    upload_memory: Arc<Semaphore>,
    status: Arc<Status>,
    registry: Option<Arc<Registry>>,
    /// Push connections end when it is cancelled.
    shutdown: CancellationToken,
}

impl Api {
    /// `shutdown` ends push connections; give the same to [`serve`](fn@serve).
    pub fn new(
        mailboxes: Arc<Mailboxes>,
        blobs: Arc<dyn BlobStore>,
        directory: Arc<Directory>,
        options: Options,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            mailboxes,
            blobs,
            directory,
            sessions: Sessions::new(&options.upload_key, Arc::new(EmbeddedRevocations::default())),
            throttle: auth::throttle::Throttle::new(options.max_login_failures),
            request_slots: slots::Slots::of("requests"),
            push_slots: slots::Slots::of("pushes"),
            upload_slots: slots::Slots::of("uploads"),
            upload_memory: Arc::new(Semaphore::new(options.max_upload_memory.max(options.max_size_upload))),
            status: Arc::default(),
            registry: None,
            options,
            shutdown,
        }
    }

    /// What `/healthz` and `/metrics` say.
    #[must_use]
    pub fn with_status(mut self, status: Arc<Status>) -> Self {
        self.status = status;
        self
    }

    /// Shares ended sessions with other processes. Without it, and after a restart, a session holds in none but the process
    /// that opened it.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Arc<dyn Revocations>) -> Self {
        self.sessions = Sessions::new(&self.options.upload_key, revocations);
        self
    }

    /// Serves the schema registry as well.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = Some(Arc::new(registry));
        self
    }
}
