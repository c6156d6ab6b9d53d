//! The paths, and what is common to them.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::Api;
use crate::auth::{Identity, token};
use crate::download::download;
use crate::error::{HttpError, RequestError};
use crate::jmap::{dispatch, request, session};
use crate::push::event_source::event_source;
use crate::push::websocket;
use crate::registry;
use crate::status;
use crate::timing::timed;
use crate::upload::upload;

/// All of the API, to be served by [`crate::serve`].
pub fn router(api: Arc<Api>) -> Router {
    let registry = api.registry.clone().map(registry::router).unwrap_or_default();
    Router::new()
        .route("/", get(index))
        .route("/.well-known/jmap", get(session_object))
        .route("/jmap/session", get(session_object))
        .route("/jmap", post(jmap))
        .route("/jmap/", post(jmap))
        .route("/jmap/download/{account_id}/{blob_id}/{name}", get(download))
        .route("/jmap/upload/{account_id}", post(upload))
        .route("/jmap/upload/{account_id}/", post(upload))
        .route("/jmap/eventsource", get(event_source))
        .route(websocket::ROUTE, get(websocket::websocket))
        .route("/auth/token", post(token::open).delete(token::close))
        .merge(status::router(api.status.clone()).with_state(()))
        .merge(registry.with_state(()))
        .fallback(|| async { HttpError::NotFound })
        .layer(middleware::from_fn(secure))
        .layer(middleware::from_fn(timed))
        .with_state(api)
}

/// Headers that hold for every response.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn index() -> Html<&'static str> {
    Html(include_str!("index.html"))
}

async fn session_object(State(api): State<Arc<Api>>, Identity(account): Identity, headers: HeaderMap) -> Response {
    let caching = [(header::CACHE_CONTROL, "no-cache, no-store, must-revalidate")];
    (caching, Json(session::session(&api, &account, &base_url(&api, &headers)))).into_response()
}

/// Where clients reach us: as configured, else under the host that this one asked, else relative.
fn base_url(api: &Api, headers: &HeaderMap) -> String {
    if !api.options.public_url.is_empty() {
        return api.options.public_url.clone();
    }
    let is_host = |host: &&str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(is_host);
    host.map(|host| format!("http://{host}")).unwrap_or_default()
}

/// `POST /jmap` (RFC 8620 section 3.1).
async fn jmap(State(api): State<Arc<Api>>, http_request: Request) -> Result<Response, HttpError> {
    let (mut parts, body) = http_request.into_parts();
    let Identity(account) = Identity::from_request_parts(&mut parts, &api).await?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return Err(RequestError::NotJson("the Content-Type is not application/json".into()).into());
    }
    let most = api.options.max_concurrent_requests;
    let slot = api.request_slots.take(&account.id, most);
    let _slot = slot.ok_or(RequestError::Limit("maxConcurrentRequests", most))?;
    let body = read_body(&api, body).await?;
    let parsed = request::Request::parse(&body, &api.options)?;
    drop(body);
    let running = Box::pin(dispatch::run(&api, &account, parsed));
    let limit = api.options.request_timeout;
    let response = timeout(limit, running).await.map_err(|_| RequestError::TooLong(limit.as_secs()))?;
    Ok(Json(response).into_response())
}

fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads a request body within its limits of size and time.
async fn read_body(api: &Api, body: Body) -> Result<Bytes, HttpError> {
    let most = api.options.max_size_request;
    let limit = api.options.read_timeout;
    let collected = timeout(limit, Limited::new(body, most).collect()).await;
    match collected.map_err(|_| HttpError::Timeout(limit.as_secs()))? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(RequestError::Limit("maxSizeRequest", most).into()),
        Err(error) => Err(HttpError::BadRequest(format!("the body could not be read: {error}"))),
    }
}
