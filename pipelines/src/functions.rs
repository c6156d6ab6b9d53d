//! The stage functions as the runner calls them.

use async_trait::async_trait;
use bytes::Bytes;
use millrace_udfs::Stages;

/// Storage does not answer now: the batch is tried again, nothing is dead-lettered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{function} cannot answer now: {reason}")]
pub struct Unavailable {
    pub function: &'static str,
    pub reason: String,
}

/// What SQL may call. Results are text: JSON with a `version`, and with an `error` when the function could not do
/// its work on these arguments; SQL routes such a row to the dead-letter topic.
///
/// Each depends on its arguments and on named, versioned rules alone, bounds its own time, and may be called again
/// with the same arguments after a crash.
#[async_trait]
pub trait Functions: Send + Sync + 'static {
    /// The stored body at a reference (`pack:offset:length`); `None` when there is none or it is damaged.
    async fn fetch_body(&self, body: &str) -> Result<Option<Bytes>, Unavailable>;

    /// Structure, addresses, subject, preview and attachments of a message.
    fn summarise(&self, raw: &[u8]) -> String;

    /// SPF, DKIM, DMARC and ARC results; `reverse_path` is `None` for the null reverse-path.
    async fn authenticate(
        &self,
        raw: &[u8],
        remote_ip: &str,
        helo: &str,
        reverse_path: Option<&str>,
        server_name: &str,
    ) -> String;

    /// The rules that the message matches.
    fn scan_virus(&self, raw: &[u8]) -> String;

    /// How likely the message is spam; `authentication` is what [`Functions::authenticate`] gave.
    fn score_spam(&self, raw: &[u8], authentication: &str) -> String;

    /// Which message came first with this body for this recipient: `{"first": message id}`.
    async fn first_seen(
        &self,
        recipient: &str,
        body_digest: &str,
        message_id: &str,
        received_at_us: i64,
    ) -> Result<String, Unavailable>;
}

#[async_trait]
impl Functions for Stages {
    async fn fetch_body(&self, body: &str) -> Result<Option<Bytes>, Unavailable> {
        let fetched = Stages::fetch_body(self, body).await;
        fetched.map_err(|reason| Unavailable { function: "fetch_body", reason })
    }

    fn summarise(&self, raw: &[u8]) -> String {
        Stages::summarise(self, raw)
    }

    async fn authenticate(
        &self,
        raw: &[u8],
        remote_ip: &str,
        helo: &str,
        reverse_path: Option<&str>,
        server_name: &str,
    ) -> String {
        Stages::authenticate(self, raw, remote_ip, helo, reverse_path, server_name).await
    }

    fn scan_virus(&self, raw: &[u8]) -> String {
        Stages::scan_virus(self, raw)
    }

    fn score_spam(&self, raw: &[u8], authentication: &str) -> String {
        Stages::score_spam(self, raw, authentication)
    }

    async fn first_seen(
        &self,
        recipient: &str,
        body_digest: &str,
        message_id: &str,
        received_at_us: i64,
    ) -> Result<String, Unavailable> {
        let seen = Stages::first_seen(self, recipient, body_digest, message_id, received_at_us).await;
        seen.map_err(|reason| Unavailable { function: "first_seen", reason })
    }
}
