//! Uploads (RFC 8620 section 6.1): bytes that a client wants to refer to by a blob id.
//!
//! - [`receive`]: the body, within bounds of size, time and memory
//! - [`key`]: the blob id, which holds all that is known of an upload; no process keeps a list of them
//!
//! The RFC lets a server delete an upload that nothing refers to after an hour or more. Today nothing deletes them:
//! they stay in their packs as bodies of mail do.

pub(crate) mod key;
mod receive;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::Api;
use crate::auth::Identity;
use crate::error::{HttpError, RequestError};
use crate::jmap::blob_id::BlobId;
use crate::media_type::is_media_type;
use key::Upload;

/// Answers once the bytes are durable.
pub(crate) async fn upload(
    State(api): State<Arc<Api>>,
    Identity(account): Identity,
    Path(account_id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    if account_id != account.id {
        return Err(HttpError::NotFound);
    }
    let most = api.options.max_concurrent_uploads;
    let slot = api.upload_slots.take(&account.id, most);
    let _slot = slot.ok_or(RequestError::Limit("maxConcurrentUpload", most))?;
    let received = receive::receive(&api.options, &api.upload_memory, body).await?;
    let size = received.bytes.len();
    let body = api.blobs.put(received.bytes).await?;
    let sealed = api.options.upload_key.seal(&account.id, &Upload { body, size_bytes: size as u64 });
    metrics::counter!("millrace_api_uploads_total").increment(1);
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let created = json!({
        "accountId": account.id,
        "blobId": BlobId::of_upload(&sealed),
        "type": media_type.filter(|text| is_media_type(text)).unwrap_or("application/octet-stream"),
        "size": size,
    });
    Ok((StatusCode::CREATED, Json(created)).into_response())
}
