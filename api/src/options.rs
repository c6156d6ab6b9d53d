//! What a deployment can choose about the API.

use std::time::Duration;

use crate::upload::key::UploadKey;

/// Limits of the API. Those that RFC 8620 section 2 names are told to clients in the session.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients reach this server, without a trailing slash (`https://mail.example.org`). Empty: relative URLs.
    pub public_url: String,
    pub max_size_request: usize,
    pub max_size_upload: usize,
    /// Uploads of one account at one time.
    pub max_concurrent_uploads: usize,
    /// Bytes that the uploads of all accounts may hold in memory until they are stored; never less than one of the
    /// largest takes.
    pub max_upload_memory: usize,
    /// Makes the blob ids of uploads, and seals bearer tokens. Give the same one to every process and keep it: under another
    /// one, the uploads that nothing refers to yet are lost, and everybody has to log in again. The default is a random key,
    /// so that both happens at a restart.
    pub upload_key: UploadKey,
    pub max_concurrent_requests: usize,
    pub max_calls_in_request: usize,
    pub max_objects_in_get: usize,
    pub max_objects_in_set: usize,
    /// The most ids that one `/query` answers with.
    pub max_query_limit: usize,
    /// A request that takes longer is given up.
    pub request_timeout: Duration,
    /// How long a client may take to send a request's body, or 256 KiB of an upload.
    pub read_timeout: Duration,
    /// Push connections (event source and WebSocket) of one account.
    pub max_push_connections: usize,
    pub token_lifetime: Duration,
    /// Failed logins of one address from one source within 15 minutes before further tries are refused.
    pub max_login_failures: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            public_url: String::new(),
            max_size_request: 4 << 20,
            max_size_upload: 50_000_000,
            max_concurrent_uploads: 4,
            max_upload_memory: 256 << 20,
            upload_key: UploadKey::random(),
            max_concurrent_requests: 16,
            max_calls_in_request: 32,
            max_objects_in_get: 1_000,
            max_objects_in_set: 1_000,
            max_query_limit: 5_000,
            request_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(30),
            max_push_connections: 32,
            token_lifetime: Duration::from_secs(7 * 24 * 3_600),
            max_login_failures: 10,
        }
    }
}
