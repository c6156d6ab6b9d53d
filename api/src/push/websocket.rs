//! JMAP over WebSocket (RFC 8887): requests, and push when the client asks for it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use millrace_directory::Account;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};

use super::watch::{Told, Types, Watcher};
use crate::Api;
use crate::auth::Identity;
use crate::error::{HttpError, RequestError};
use crate::jmap::{dispatch, ijson, request::Request, state};
use crate::slots::Slot;

/// Silence after which a ping is sent; after twice this the client is taken to have gone.
const PING: Duration = Duration::from_secs(60);

pub(crate) async fn websocket(
    State(api): State<Arc<Api>>,
    Identity(account): Identity,
    upgrade: WebSocketUpgrade,
) -> Result<Response, HttpError> {
    let most = api.options.max_size_request;
    let upgrade =
        upgrade.protocols(["jmap"]).max_message_size(most).max_frame_size(most).max_write_buffer_size(most * 8);
    if upgrade.selected_protocol().is_none() {
        return Err(HttpError::BadRequest("ask for the subprotocol 'jmap' (RFC 8887)".into()));
    }
    let slot = api
        .push_slots
        .take(&account.id, api.options.max_push_connections)
        .ok_or(HttpError::TooManyConnections("this account has too many push connections open"))?;
    Ok(upgrade
        .on_upgrade(move |socket| Connection { api, account, watcher: None, _slot: slot }.run(socket))
        .into_response())
}

struct Connection {
    api: Arc<Api>,
    account: Arc<Account>,
    watcher: Option<Watcher>,
    _slot: Slot,
}

/// What a message of the client asks for.
enum Asked {
    Request { id: Option<String>, request: Request },
    Nothing,
}

/// Why a message got an error, and the id of its request.
struct Refused(Option<String>, RequestError);

impl Connection {
    async fn run(mut self, socket: WebSocket) {
        let (mut sink, mut stream) = socket.split();
        let mut running = FuturesUnordered::new();
        let mut heard = Instant::now();
        let mut pings = tokio::time::interval(PING);
        let shutdown = self.api.shutdown.clone();
        loop {
            let message = tokio::select! {
                () = shutdown.cancelled() => break,
                message = stream.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => match self.take(text.as_bytes()).await {
                            Ok(Asked::Request { id, request }) if running.len() < self.api.options.max_concurrent_requests => {
                                running.push(respond(self.api.clone(), self.account.clone(), id, request));
                                continue;
                            }
                            Ok(Asked::Request { id, .. }) => {
                                let most = self.api.options.max_concurrent_requests;
                                Refused(id, RequestError::Limit("maxConcurrentRequests", most)).into_message()
                            }
                            Ok(Asked::Nothing) => continue,
                            Err(refused) => refused.into_message(),
                        },
                        Some(Ok(Message::Binary(_))) => {
                            Refused(None, RequestError::NotJson("JMAP goes in text messages".into())).into_message()
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    }
                }
                Some(response) = running.next() => response,
                told = told(&mut self.watcher) => match told {
                    Some(told) => state_change(told),
                    None => break,
                },
                _ = pings.tick() => {
                    if heard.elapsed() > PING * 2 {
                        break;
                    }
                    Message::Ping(bytes::Bytes::new())
                }
            };
            // A client that takes nothing is let go: nothing piles up behind it.
            if !matches!(timeout(self.api.options.write_timeout, sink.send(message)).await, Ok(Ok(()))) {
                return;
            }
        }
        drop(timeout(self.api.options.write_timeout, sink.close()).await);
    }

    /// Reads a message (RFC 8887 section 4.3). Push is switched on and off at once.
    async fn take(&mut self, text: &[u8]) -> Result<Asked, Refused> {
        let json = ijson::parse(text).map_err(|error| Refused(None, RequestError::NotJson(error)))?;
        let Value::Object(mut object) = json else {
            return Err(Refused(None, RequestError::NotRequest("a message is an object".into())));
        };
        let id = object.remove("id").and_then(|id| id.as_str().map(str::to_owned));
        let kind = object.get("@type").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "Request" => match Request::from_json(Value::Object(object), &self.api.options) {
                Ok(request) => Ok(Asked::Request { id, request }),
                Err(error) => Err(Refused(id, error)),
            },
            "WebSocketPushEnable" => {
                self.watcher = Some(self.watch(&object).await.map_err(|error| Refused(id, error))?);
                Ok(Asked::Nothing)
            }
            "WebSocketPushDisable" => {
                self.watcher = None;
                Ok(Asked::Nothing)
            }
            _ => {
                let why = "'@type' is Request, WebSocketPushEnable or WebSocketPushDisable";
                Err(Refused(id, RequestError::NotRequest(why.into())))
            }
        }
    }

    async fn watch(&self, object: &Map<String, Value>) -> Result<Watcher, RequestError> {
        let bad = |why: &str| RequestError::NotRequest(why.to_owned());
        let types = match object.get("dataTypes") {
            None | Some(Value::Null) => Types::all(),
            Some(Value::Array(names)) => Types::only(names.iter().filter_map(Value::as_str)),
            Some(_) => return Err(bad("'dataTypes' is not an array of names")),
        };
        let since = match object.get("pushState") {
            None | Some(Value::Null) => None,
            Some(state) => Some(state.as_str().and_then(|state| state::parse(state).ok()).unwrap_or(0)),
        };
        let watcher = Watcher::new(self.api.clone(), &self.account.id, types, since).await;
        watcher.map_err(|_| bad("the account cannot be read now; try again later"))
    }
}

async fn told(watcher: &mut Option<Watcher>) -> Option<Told> {
    match watcher {
        Some(watcher) => watcher.next().await,
        None => std::future::pending().await,
    }
}

fn state_change(told: Told) -> Message {
    let mut change = told.change;
    change.insert("pushState".into(), told.state.to_string().into());
    Message::text(Value::Object(change).to_string())
}

async fn respond(api: Arc<Api>, account: Arc<Account>, id: Option<String>, request: Request) -> Message {
    let running = Box::pin(dispatch::run(&api, &account, request));
    let mut response = match timeout(api.options.request_timeout, running).await {
        Ok(response) => response,
        Err(_) => return Refused(id, RequestError::TooLong(api.options.request_timeout.as_secs())).into_message(),
    };
    response["@type"] = "Response".into();
    if let Some(id) = id {
        response["requestId"] = id.into();
    }
    Message::text(response.to_string())
}

impl Refused {
    fn into_message(self) -> Message {
        let mut problem = self.1.problem();
        problem["@type"] = "RequestError".into();
        problem["requestId"] = self.0.into();
        Message::text(problem.to_string())
    }
}
