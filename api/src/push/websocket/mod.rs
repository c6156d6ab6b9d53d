//! JMAP over WebSocket (RFC 8887): requests, and push when the client asks for it.
//!
//! - here: the connection, from its upgrade to its close
//! - [`message`]: what a client's message asks for, and what it gets

mod message;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use millrace_directory::Account;
use tokio::time::{Instant, timeout};

use super::watch::{Told, Watcher};
use crate::Api;
use crate::auth::{Identity, still_holds};
use crate::error::{HttpError, RequestError};
use crate::serve::Place;
use crate::slots::Slot;
use crate::timing::Timing;
use message::{Asked, MAX_RESPONSE_BYTES, Refused, respond, state_change};

/// Requests over WebSockets are told with it; their upgrades as well, which end with 101.
pub(crate) const ROUTE: &str = "/jmap/ws";

/// Silence after which a ping is sent; after twice this the client is taken to have gone.
const PING: Duration = Duration::from_secs(60);
/// Time to answer the requests that run, and to close.
const GOODBYE: Duration = Duration::from_secs(2);
/// For the answers to a client's pings, which wait beside a response.
const CONTROL_BYTES: usize = 64 << 10;

pub(crate) async fn websocket(
    State(api): State<Arc<Api>>,
    Identity(account): Identity,
    place: Option<Extension<Place>>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, HttpError> {
    let most = api.options.max_size_request;
    let upgrade = upgrade
        .protocols(["jmap"])
        .max_message_size(most)
        .max_frame_size(most)
        .max_write_buffer_size(MAX_RESPONSE_BYTES + CONTROL_BYTES);
    if upgrade.selected_protocol().is_none() {
        return Err(HttpError::BadRequest("ask for the subprotocol 'jmap' (RFC 8887)".into()));
    }
    let slot = api
        .push_slots
        .take(&account.id, api.options.max_push_connections)
        .ok_or(HttpError::TooManyConnections("this account has too many push connections open"))?;
    let connection = Connection { api, account, watcher: None, _slot: slot, _place: place };
    Ok(upgrade.on_upgrade(move |socket| connection.run(socket)).into_response())
}

struct Connection {
    api: Arc<Api>,
    account: Arc<Account>,
    watcher: Option<Watcher>,
    _slot: Slot,
    /// Held until the WebSocket is closed: a server that stops waits for it.
    _place: Option<Extension<Place>>,
}

/// What to do next.
enum Next {
    Send(Message),
    /// A request whose response will be sent.
    Run(BoxFuture<'static, Message>),
    Listen,
    Close(CloseCode),
}

impl Connection {
    async fn run(mut self, socket: WebSocket) {
        let (mut sink, mut stream) = socket.split();
        let mut running = FuturesUnordered::new();
        let mut heard = Instant::now();
        let mut pings = tokio::time::interval_at(heard + PING, PING);
        let shutdown = self.api.shutdown.clone();
        let code = loop {
            let next = tokio::select! {
                () = shutdown.cancelled() => Next::Close(close_code::AWAY),
                message = stream.next() => {
                    heard = Instant::now();
                    shutdown.run_until_cancelled(self.take(message)).await.unwrap_or(Next::Close(close_code::AWAY))
                }
                Some(response) = running.next() => Next::Send(response),
                told = told(&mut self.watcher) => match told {
                    Some(told) => Next::Send(state_change(told)),
                    None => Next::Close(close_code::POLICY),
                },
                _ = pings.tick() => self.ping(heard),
            };
            let message = match next {
                Next::Send(message) => message,
                Next::Run(response) => {
                    running.push(response);
                    continue;
                }
                Next::Listen => continue,
                Next::Close(code) => break code,
            };
            // Nothing else is made or read while a message waits: nothing piles up behind a client that takes nothing.
            match shutdown.run_until_cancelled(sink.send(message)).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return,
                None => break close_code::AWAY,
            }
        };
        if code != close_code::AWAY {
            running.clear();
        }
        let goodbye = async {
            while let Some(response) = running.next().await {
                sink.send(response).await?;
            }
            sink.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await?;
            sink.close().await
        };
        drop(timeout(GOODBYE, goodbye).await);
    }

    fn ping(&self, heard: Instant) -> Next {
        if heard.elapsed() > PING * 2 {
            return Next::Close(close_code::NORMAL);
        }
        if !still_holds(&self.api, &self.account) {
            return Next::Close(close_code::POLICY);
        }
        Next::Send(Message::Ping(bytes::Bytes::new()))
    }

    async fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Next {
        let asked = match message {
            Some(Ok(Message::Text(text))) => Asked::parse(text.as_bytes(), &self.api.options),
            Some(Ok(Message::Binary(_))) => Err(Refused::not_text()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Next::Listen,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Next::Close(close_code::NORMAL),
        };
        if !still_holds(&self.api, &self.account) {
            return Next::Close(close_code::POLICY);
        }
        let started = match asked {
            Ok(asked) => self.start(asked).await,
            Err(refused) => Err(refused),
        };
        started.unwrap_or_else(|refused| {
            Timing::begin(ROUTE).end(refused.status());
            Next::Send(refused.into_message())
        })
    }

    /// Starts a request, or switches push.
    async fn start(&mut self, asked: Asked) -> Result<Next, Refused> {
        match asked {
            Asked::Request { id, request } => {
                // One limit for all ways to send requests.
                let most = self.api.options.max_concurrent_requests;
                let Some(slot) = self.api.request_slots.take(&self.account.id, most) else {
                    return Err(Refused::new(id, RequestError::Limit("maxConcurrentRequests", most)));
                };
                let running = respond(self.api.clone(), self.account.clone(), id, request);
                return Ok(Next::Run(Box::pin(async move {
                    let response = running.await;
                    drop(slot);
                    response
                })));
            }
            Asked::PushOn { id, types, since } => {
                let watcher = Watcher::new(self.api.clone(), self.account.clone(), types, since).await;
                let why = "the account cannot be read now; try again later";
                let refused = |_| Refused::new(id, RequestError::NotRequest(why.to_owned()));
                self.watcher = Some(watcher.map_err(refused)?);
            }
            Asked::PushOff => self.watcher = None,
        }
        Ok(Next::Listen)
    }
}

async fn told(watcher: &mut Option<Watcher>) -> Option<Told> {
    match watcher {
        Some(watcher) => watcher.next().await,
        None => std::future::pending().await,
    }
}
