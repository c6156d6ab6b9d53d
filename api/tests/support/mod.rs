//! A server of its own for each test: embedded storage in a temporary directory, the real lander, indexer and tables,
//! and the real router on a port. Mail is delivered as the reception pipeline does it: a body, and a record.

#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use millrace_api::{Api, Options, ServeOptions};
use millrace_directory::{Account, Directory};
use millrace_query::mail::search::Indexer;
use millrace_query::mail::{Lander, LanderOptions, Mailboxes, MailboxesOptions, Search, SearchOptions};
use millrace_query::tables::{TableOptions, Tables};
use millrace_schemas::{MailboxChange, Topic, encode};
use millrace_storage::embedded::{EmbeddedStorage, StorageOptions};
use millrace_storage::{BlobStore, Log, NewRecord};
use millrace_udfs::{Dns, StageOptions, Stages};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub const PASSWORD: &str = "correct horse";
/// What reception writes before the message.
pub const TRACE: &str =
    "Return-Path: <sender@example.org>\r\nReceived: from a by b; Fri, 20 Nov 2026 10:00:00 +0000\r\n";

pub struct World {
    pub address: SocketAddr,
    pub alice: Arc<Account>,
    pub bob: Arc<Account>,
    pub storage: EmbeddedStorage,
    pub mailboxes: Arc<Mailboxes>,
    pub directory: Arc<Directory>,
    stages: Stages,
    shutdown: CancellationToken,
    _dir: tempfile::TempDir,
}

/// A server that a test started: it ends with its world, or before.
pub struct Server {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub served: tokio::task::JoinHandle<()>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = EmbeddedStorage::open(dir.path(), StorageOptions::default()).unwrap();
        let directory = Directory::open(storage.log.clone()).await.unwrap();
        let shutdown = CancellationToken::new();
        let (followed, following) = (directory.clone(), shutdown.clone());
        tokio::spawn(async move { followed.follow(following).await });
        directory.add_domain("millrace.test").await.unwrap();
        let alice = directory.add_account("alice@millrace.test", Some(PASSWORD), None).await.unwrap();
        let bob = directory.add_account("bob@millrace.test", Some(PASSWORD), None).await.unwrap();
        let tables = Tables::open(dir.path(), TableOptions::default()).await.unwrap();
        let search = Search::open(&dir.path().join("search"), SearchOptions::default()).await.unwrap();
        let (log, hot, blobs) = (storage.log.clone(), storage.hot.clone(), storage.blobs.clone());
        let landing = LanderOptions { interval: Duration::from_millis(200), ..LanderOptions::default() };
        tokio::spawn(Lander::new(log.clone(), hot.clone(), tables.clone(), landing).run(shutdown.clone()));
        let indexer = Indexer::new(search.clone(), log.clone(), blobs.clone(), tables.clone());
        tokio::spawn(indexer.run(shutdown.clone()));
        let mailboxes = Arc::new(Mailboxes::new(log, hot, tables, search, MailboxesOptions::default()));
        let first_seen = storage.first_seen.clone();
        let stages = Stages::new(StageOptions { blobs, first_seen, dns: Dns::Off, rules_dir: None }).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut world = Self { address, alice, bob, storage, mailboxes, directory, stages, shutdown, _dir: dir };
        world.address = world.serve(options, ServeOptions::default()).await.address;
        world
    }

    /// The routes over the same mail and accounts, as another process would have them.
    pub fn router(&self, options: Options, shutdown: CancellationToken) -> axum::Router {
        let (mailboxes, blobs) = (self.mailboxes.clone(), self.storage.blobs.clone());
        millrace_api::router(Arc::new(Api::new(mailboxes, blobs, self.directory.clone(), options, shutdown)))
    }

    /// Starts a server that knows of accounts what this directory does.
    pub async fn serve_knowing(&self, directory: Arc<Directory>, options: Options) -> Server {
        self.serve_both(directory, options, |api| api).await
    }

    /// Starts a server of what `with` makes of the API.
    pub async fn serve_api(&self, options: Options, with: impl FnOnce(Api) -> Api) -> Server {
        self.serve_both(self.directory.clone(), options, with).await
    }

    async fn serve_both(&self, directory: Arc<Directory>, options: Options, with: impl FnOnce(Api) -> Api) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = self.shutdown.child_token();
        let (mailboxes, blobs) = (self.mailboxes.clone(), self.storage.blobs.clone());
        let api = Api::new(mailboxes, blobs, directory, options, shutdown.clone());
        let router = millrace_api::router(Arc::new(with(api)));
        let served = tokio::spawn(millrace_api::serve(listener, router, ServeOptions::default(), shutdown.clone()));
        Server { address, shutdown, served }
    }

    /// Starts a server of these routes.
    pub async fn serve(&self, options: Options, serving: ServeOptions) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.serve_on(listener, options, serving)
    }

    pub fn serve_on(&self, listener: tokio::net::TcpListener, options: Options, serving: ServeOptions) -> Server {
        let shutdown = self.shutdown.child_token();
        let address = listener.local_addr().unwrap();
        let router = self.router(options, shutdown.clone());
        let served = tokio::spawn(millrace_api::serve(listener, router, serving, shutdown.clone()));
        Server { address, shutdown, served }
    }

    /// The account with this short name.
    pub fn account(&self, name: &str) -> &Account {
        if name == "bob" { &self.bob } else { &self.alice }
    }

    /// Delivers a message, and returns the body as it was stored.
    pub async fn deliver(
        &self,
        name: &str,
        email_id: &str,
        message: &[u8],
        mailbox: &str,
        received_at_us: i64,
    ) -> Bytes {
        let body = self.append(name, email_id, message, mailbox, received_at_us).await;
        let account_id = &self.account(name).id;
        self.eventually(|| async { self.mailboxes.view(account_id).await.unwrap().get(email_id).is_some() }).await;
        body
    }

    /// The same without waiting until it is there.
    pub async fn append(
        &self,
        name: &str,
        email_id: &str,
        message: &[u8],
        mailbox: &str,
        received_at_us: i64,
    ) -> Bytes {
        let body: Bytes = [TRACE.as_bytes(), message].concat().into();
        let reference = self.storage.blobs.put(body.clone()).await.unwrap();
        let account = self.account(name);
        let change = MailboxChange {
            kind: MailboxChange::DELIVERED.into(),
            account_id: account.id.clone(),
            email_id: email_id.into(),
            changed_at_us: received_at_us,
            message_id: Some(email_id.into()),
            received_at_us: Some(received_at_us),
            recipient: Some(account.address.clone()),
            body: Some(reference.to_string()),
            size_bytes: Some(body.len() as i64),
            mailbox: Some(mailbox.into()),
            summary: Some(self.stages.summarise(&body)),
            ..MailboxChange::default()
        };
        let value = encode(&change).unwrap();
        let record = NewRecord { topic: Topic::MailboxChanges, key: account.id.clone(), value };
        self.storage.log.append(vec![record]).await.unwrap();
        body
    }

    /// Waits until `holds`, at most 10 seconds.
    pub async fn eventually<F: Future<Output = bool>>(&self, holds: impl Fn() -> F) {
        for _ in 0..500 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("this did not come to hold within 10 seconds");
    }

    pub fn basic(&self, name: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{PASSWORD}", self.account(name).address)))
    }

    /// Sends one request over a connection of its own.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        self.send_to(self.address, request).await
    }

    pub async fn send_to(&self, address: SocketAddr, request: Request<Body>) -> Answer {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, name: &str, path: &str) -> Answer {
        let request =
            Request::get(path).header(header::HOST, "localhost").header(header::AUTHORIZATION, self.basic(name));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, name: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post("/jmap")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, self.basic(name));
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Runs method calls and gives their responses.
    pub async fn call(&self, name: &str, calls: Value) -> Value {
        let using = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"];
        let answer = self.post(name, json!({ "using": using, "methodCalls": calls }).to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer.json()["methodResponses"].clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A message of `tests/mail`, with CRLF.
pub fn mail(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.replace('\n', "\r\n").into_bytes()
}
