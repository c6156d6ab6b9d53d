//! Long work over HTTP: lines of JSON, progress first, then one result or one error.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// One line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Progress { done: u64, total: u64, what: String },
    Result(serde_json::Value),
    Error(String),
}

/// Tells how far the work is. Cheap: what the reader has not taken yet is passed over.
#[derive(Clone)]
pub struct Progress {
    lines: mpsc::Sender<Line>,
    what: Arc<str>,
}

impl Progress {
    pub fn step(&self, done: u64, total: u64) {
        let line = Line::Progress { done, total, what: self.what.to_string() };
        // A full channel means that the reader is behind: the next step tells it more.
        drop(self.lines.try_send(line));
    }
}

/// Runs `work` and answers with its progress and its result.
pub fn respond<F, W>(what: &str, work: W) -> Response
where
    W: FnOnce(Progress) -> F,
    F: Future<Output = anyhow::Result<serde_json::Value>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(16);
    let work = work(Progress { lines: sender.clone(), what: what.into() });
    tokio::spawn(async move {
        let last = match work.await {
            Ok(result) => Line::Result(result),
            Err(error) => Line::Error(format!("{error:#}")),
        };
        // Nobody reads when the command was interrupted; the work is done all the same.
        drop(sender.send(last).await);
    });
    let lines = futures::stream::unfold(receiver, |mut receiver| async {
        let line = receiver.recv().await?;
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(text)), receiver))
    });
    Body::from_stream(lines.boxed()).into_response()
}
