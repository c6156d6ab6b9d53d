//! What a client's message asks for (RFC 8887 section 4.3), and what it gets.

use std::sync::Arc;

use axum::extract::ws::Message;
use axum::http::StatusCode;
use millrace_directory::Account;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::ROUTE;
use crate::Api;
use crate::error::RequestError;
use crate::jmap::{dispatch, ijson, request::Request, state};
use crate::options::Options;
use crate::push::watch::{Told, Types};
use crate::timing::Timing;

/// A response goes out as one message, which is in memory until the client has taken it.
pub(super) const MAX_RESPONSE_BYTES: usize = 64 << 20;

pub(super) enum Asked {
    Request { id: Option<String>, request: Request },
    PushOn { id: Option<String>, types: Types, since: Option<u64> },
    PushOff,
}

/// Why a message got an error, and the id of its request.
pub(super) struct Refused {
    id: Option<String>,
    error: RequestError,
}

impl Asked {
    pub(super) fn parse(text: &[u8], options: &Options) -> Result<Self, Refused> {
        let json = ijson::parse(text).map_err(|error| Refused::new(None, RequestError::NotJson(error)))?;
        let Value::Object(mut object) = json else {
            return Err(Refused::new(None, RequestError::NotRequest("a message is an object".into())));
        };
        let id = object.remove("id").and_then(|id| id.as_str().map(str::to_owned));
        let kind = object.get("@type").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "Request" => match Request::from_json(Value::Object(object), options) {
                Ok(request) => Ok(Self::Request { id, request }),
                Err(error) => Err(Refused::new(id, error)),
            },
            "WebSocketPushEnable" => match push_types(&object) {
                Ok(types) => Ok(Self::PushOn { id, types, since: push_state(&object) }),
                Err(error) => Err(Refused::new(id, error)),
            },
            "WebSocketPushDisable" => Ok(Self::PushOff),
            _ => {
                let why = "'@type' is Request, WebSocketPushEnable or WebSocketPushDisable";
                Err(Refused::new(id, RequestError::NotRequest(why.into())))
            }
        }
    }
}

fn push_types(object: &Map<String, Value>) -> Result<Types, RequestError> {
    match object.get("dataTypes") {
        None | Some(Value::Null) => Ok(Types::all()),
        Some(Value::Array(names)) => Ok(Types::only(names.iter().filter_map(Value::as_str))),
        Some(_) => Err(RequestError::NotRequest("'dataTypes' is not an array of names".into())),
    }
}

/// A state that we did not give is taken for the first: the client is told what there is.
fn push_state(object: &Map<String, Value>) -> Option<u64> {
    match object.get("pushState") {
        None | Some(Value::Null) => None,
        Some(state) => Some(state.as_str().and_then(|state| state::parse(state).ok()).unwrap_or(0)),
    }
}

impl Refused {
    pub(super) fn new(id: Option<String>, error: RequestError) -> Self {
        Self { id, error }
    }

    pub(super) fn not_text() -> Self {
        Self::new(None, RequestError::NotJson("JMAP goes in text messages".into()))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.error.status()
    }

    pub(super) fn into_message(self) -> Message {
        let mut problem = self.error.problem();
        problem["@type"] = "RequestError".into();
        problem["requestId"] = self.id.into();
        Message::text(problem.to_string())
    }
}

pub(super) async fn respond(api: Arc<Api>, account: Arc<Account>, id: Option<String>, request: Request) -> Message {
    let timing = Timing::begin(ROUTE);
    let response = run(&api, &account, id, request).await;
    timing.end(response.as_ref().map_or_else(Refused::status, |_| StatusCode::OK));
    response.unwrap_or_else(Refused::into_message)
}

async fn run(api: &Api, account: &Arc<Account>, id: Option<String>, request: Request) -> Result<Message, Refused> {
    let limit = api.options.request_timeout;
    let running = Box::pin(dispatch::run(api, account, request));
    let Ok(mut response) = timeout(limit, running).await else {
        return Err(Refused::new(id, RequestError::TooLong(limit.as_secs())));
    };
    response["@type"] = "Response".into();
    if let Some(id) = &id {
        response["requestId"] = id.as_str().into();
    }
    let text = response.to_string();
    if text.len() > MAX_RESPONSE_BYTES {
        return Err(Refused::new(id, RequestError::ResponseTooLarge(MAX_RESPONSE_BYTES)));
    }
    Ok(Message::text(text))
}

pub(super) fn state_change(told: Told) -> Message {
    let mut change = told.change;
    change.insert("pushState".into(), told.state.to_string().into());
    Message::text(Value::Object(change).to_string())
}
