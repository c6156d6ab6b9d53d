//! `POST /auth/token` gives a bearer token for address and password; `DELETE /auth/token` ends the one it is sent with.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Credentials, Identity, credentials};
use crate::Api;
use crate::error::HttpError;

/// A token is given for a password only: one that leaked cannot be renewed for ever.
pub(crate) async fn open(State(api): State<Arc<Api>>, request: Request) -> Result<Response, HttpError> {
    let (mut parts, _) = request.into_parts();
    if !matches!(credentials(&parts.headers), Some(Credentials::Basic { .. })) {
        return Err(HttpError::Unauthorized);
    }
    let Identity(account) = Identity::from_request_parts(&mut parts, &api).await?;
    let lifetime = api.options.token_lifetime;
    let token = api.sessions.open(&account, lifetime, Instant::now());
    let body = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
        "account_id": account.id,
    });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

pub(crate) async fn close(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<StatusCode, HttpError> {
    match credentials(&headers) {
        Some(Credentials::Bearer(token)) if api.sessions.close(&token) => Ok(StatusCode::NO_CONTENT),
        _ => Err(HttpError::Unauthorized),
    }
}
