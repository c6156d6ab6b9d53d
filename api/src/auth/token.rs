//! `POST /auth/token` gives a bearer token for address and password; `DELETE /auth/token` ends the one it is sent with, in
//! all processes.

use std::sync::Arc;
use std::time::SystemTime;

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
    let token = api.sessions.open(&account, lifetime, SystemTime::now()).await?;
    let body = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
        "account_id": account.id,
    });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

pub(crate) async fn close(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<StatusCode, HttpError> {
    let Some(Credentials::Bearer(token)) = credentials(&headers) else { return Err(HttpError::Unauthorized) };
    let now = SystemTime::now();
    let session = api.sessions.read(&token, now).ok_or(HttpError::Unauthorized)?;
    if !api.sessions.holds(&session).await? {
        return Err(HttpError::Unauthorized);
    }
    api.sessions.end(&session, api.options.token_lifetime, now).await?;
    Ok(StatusCode::NO_CONTENT)
}
