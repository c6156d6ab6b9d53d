//! The event source (RFC 8620 section 7.3).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::watch::{Types, Watcher};
use crate::Api;
use crate::auth::Identity;
use crate::error::HttpError;
use crate::slots::Slot;

const MIN_PING: Duration = Duration::from_secs(5);
const MAX_PING: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
pub(crate) struct Parameters {
    types: String,
    closeafter: String,
    #[serde(default)]
    ping: u64,
}

pub(crate) async fn event_source(
    State(api): State<Arc<Api>>,
    Identity(account): Identity,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let is_closed_after_state = match parameters.closeafter.as_str() {
        "state" => true,
        "no" => false,
        _ => return Err(HttpError::BadRequest("'closeafter' is 'state' or 'no'".into())),
    };
    let types = match parameters.types.as_str() {
        "*" => Types::all(),
        names => Types::only(names.split(',')),
    };
    let slot = api
        .push_slots
        .take(&account.id, api.options.max_push_connections)
        .ok_or(HttpError::TooManyConnections("this account has too many push connections open"))?;
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let watcher = Watcher::new(api.clone(), account, types, last_id).await?;
    // Without pings a comment goes out now and then, so that a client that has gone is noticed.
    let (ping, is_silent) = match parameters.ping {
        0 => (MAX_PING, true),
        seconds => (Duration::from_secs(seconds).clamp(MIN_PING, MAX_PING), false),
    };
    let events = Events {
        watcher,
        ping,
        is_silent,
        is_closed_after_state,
        is_over: false,
        shutdown: api.shutdown.clone(),
        _slot: slot,
    };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(events.into_stream())).into_response())
}

struct Events {
    watcher: Watcher,
    ping: Duration,
    is_silent: bool,
    is_closed_after_state: bool,
    is_over: bool,
    shutdown: tokio_util::sync::CancellationToken,
    _slot: Slot,
}

impl Events {
    /// An event is made when the connection takes it: a slow client gets fewer, later ones, and holds no memory. One that
    /// takes nothing is closed by the connection.
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        futures::stream::unfold(self, |mut events| async move {
            let event = events.next().await?;
            Some((Ok(event), events))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            told = self.watcher.next() => {
                let told = told?;
                self.is_over = self.is_closed_after_state;
                let change = serde_json::Value::Object(told.change);
                Some(format!("event: state\nid: {}\ndata: {change}\n\n", told.state).into())
            }
            () = sleep_until(Instant::now() + self.ping) => {
                if !self.watcher.still_holds() {
                    return None;
                }
                let seconds = self.ping.as_secs();
                let ping = format!("event: ping\ndata: {{\"interval\":{seconds}}}\n\n");
                Some(if self.is_silent { ":\n\n".into() } else { ping.into() })
            }
        }
    }
}
