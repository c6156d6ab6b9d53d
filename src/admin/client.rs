//! The commands' side of the admin interface.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tower::ServiceExt;

use super::progress::Line;
use super::{SOCKET, router};
use crate::config::{Config, StorageKind};
use crate::node::{Node, Role};

/// A way to a node.
pub enum Client {
    /// To the one that runs on this data directory.
    Running(std::path::PathBuf),
    /// To one of our own, in this process, with the directory that it has while it lasts where others use the configured
    /// one.
    Own(Box<Router>, Arc<Node>, Option<TempDir>),
}

impl Client {
    /// Connects to the node that runs on the data directory, or starts one without listeners: in a cluster, over the
    /// services that all share.
    ///
    /// # Errors
    /// When neither is possible, for instance because the directory cannot be written.
    pub async fn connect(mut config: Config) -> anyhow::Result<Self> {
        let socket = config.data_dir.join(SOCKET);
        if UnixStream::connect(&socket).await.is_ok() {
            return Ok(Self::Running(socket));
        }
        // The parts of a cluster run elsewhere; partitions that came here would go again when the command ends.
        let (roles, directory): (&[Role], _) = match config.storage {
            StorageKind::Embedded => (&[Role::Pipelines, Role::Lander], None),
            StorageKind::Cluster => {
                let directory = tempfile::tempdir().context("no temporary directory can be made")?;
                directory.path().clone_into(&mut config.data_dir);
                (&[], Some(directory))
            }
        };
        let node = Node::open(config).await?;
        node.start(roles).await?;
        Ok(Self::Own(Box::new(router(node.clone())), node, directory))
    }

    /// Ends a node of our own: what it has is landed first.
    pub async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Own(router, node, _directory) => {
                drop(router);
                node.stop().await
            }
        }
    }

    /// Sends a request and gives the response, which was a success.
    pub async fn send(&self, method: Method, path: &str, body: Body) -> anyhow::Result<Response<Body>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "millrace")
            .header("content-type", "application/json")
            .body(body)?;
        let response = match self {
            Self::Own(router, ..) => router.as_ref().clone().oneshot(request).await?,
            Self::Running(socket) => send_over(socket, request).await?,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        bail!(error_text(response).await)
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Body) -> anyhow::Result<T> {
        let bytes = self.send(method, path, body).await?.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&bytes).context("the node gave an answer that is not understood")
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(Method::GET, path, Body::empty()).await
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(Method::DELETE, path, Body::empty()).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.json(Method::POST, path, serde_json::to_vec(body)?.into()).await
    }

    pub async fn post_bytes<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> anyhow::Result<T> {
        self.json(Method::POST, path, body.into()).await
    }

    /// Starts long work, shows its progress on standard error, and gives its result.
    pub async fn work<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let response = self.send(Method::POST, path, serde_json::to_vec(body)?.into()).await?;
        let bar = progress_bar();
        let mut body = response.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the node ended the work half way; see its log")?;
            pending.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                match serde_json::from_slice(&line).context("the node gave an answer that is not understood")? {
                    Line::Progress { done, total, what } => show(&bar, done, total, what),
                    Line::Error(error) => bail!(error),
                    Line::Result(result) => {
                        bar.finish_and_clear();
                        return Ok(serde_json::from_value(result)?);
                    }
                }
            }
        }
        bail!("the node ended the work without a result; see its log")
    }
}

/// A text as one segment of a path (RFC 3986 section 2.3): addresses may hold `%`, `/`, `?` and `#`.
pub fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// A bar on standard error, hidden when that is no terminal.
pub fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{wide_bar}] {human_pos}/{human_len} {per_sec} eta {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar, done: u64, total: u64, what: String) {
    bar.set_message(what);
    bar.set_length(total);
    bar.set_position(done);
}

async fn send_over(socket: &Path, request: Request<Body>) -> anyhow::Result<Response<Body>> {
    let stream = UnixStream::connect(socket).await.context("the node that was running has stopped")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.map(Body::new))
}

async fn error_text(response: Response<Body>) -> String {
    #[derive(serde::Deserialize)]
    struct Failure {
        error: String,
    }
    let status = response.status();
    let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match serde_json::from_slice::<Failure>(&body) {
        Ok(failure) => failure.error,
        Err(_) if status == StatusCode::NOT_FOUND => "the node does not know this command; is it an older one?".into(),
        Err(_) => format!("the node answered {status}: {}", String::from_utf8_lossy(&body)),
    }
}
