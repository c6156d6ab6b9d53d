//! Downloads (RFC 8620 section 6.2): the stored body of an email, one of its parts decoded, or an upload.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

use crate::Api;
use crate::auth::Identity;
use crate::error::{HttpError, MethodError};
use crate::jmap::blob_id::BlobId;
use crate::jmap::email::read_body;
use crate::media_type::is_media_type;
use crate::mime::decode;
use crate::mime::structure::Part;

#[derive(Deserialize)]
pub(crate) struct Parameters {
    #[serde(rename = "type")]
    media_type: Option<String>,
}

pub(crate) async fn download(
    State(api): State<Arc<Api>>,
    Identity(account): Identity,
    Path((account_id, blob_id, name)): Path<(String, String, String)>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, HttpError> {
    if account_id != account.id {
        return Err(HttpError::NotFound);
    }
    let blob_id = BlobId::parse(&blob_id).ok_or(HttpError::NotFound)?;
    let content = read(&api, &account.id, blob_id).await?;
    let media_type = parameters.media_type.filter(|text| is_media_type(text));
    let media_type = media_type.as_deref().unwrap_or("application/octet-stream");
    Ok(respond(content, media_type, &name))
}

/// Reads what a blob id names, in this account and no other.
async fn read(api: &Api, account_id: &str, blob_id: BlobId) -> Result<Bytes, HttpError> {
    match blob_id {
        BlobId::Email(email_id) => message(api, account_id, &email_id).await,
        BlobId::Part { part_id, email_id } => {
            let part_id = part_id.parse().map_err(|_| HttpError::NotFound)?;
            let message = message(api, account_id, &email_id).await?;
            let decoded = tokio::task::spawn_blocking(move || {
                let root = Part::parse(&message);
                root.leaf(part_id).map(|part| Bytes::from(decode::octets(part).bytes.into_owned()))
            });
            decoded.await.map_err(|_| HttpError::Unavailable)?.ok_or(HttpError::NotFound)
        }
        BlobId::Upload(sealed) => {
            let upload = api.options.upload_key.open(account_id, &sealed).ok_or(HttpError::NotFound)?;
            Ok(api.blobs.get(&upload.body).await?)
        }
    }
}

/// The stored body of an email.
async fn message(api: &Api, account_id: &str, email_id: &str) -> Result<Bytes, HttpError> {
    let view = api.mailboxes.view(account_id).await?;
    view.get(email_id).ok_or(HttpError::NotFound)?;
    let facts = api.mailboxes.facts(account_id, &[email_id]).await?;
    let facts = facts.first().filter(|facts| facts.account_id == account_id).ok_or(HttpError::NotFound)?;
    read_body(api, facts).await.map_err(|error| match error {
        MethodError::ServerFail => HttpError::NotFound,
        _ => HttpError::Unavailable,
    })
}

/// Whatever the sender put in it, a browser must save it and not run it in our origin.
fn respond(content: Bytes, media_type: &str, name: &str) -> Response {
    let mut response = Body::from(content).into_response();
    let headers = response.headers_mut();
    let disposition = format!("attachment; filename*=UTF-8''{}", percent_encode(name));
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap_or(octets));
    let attachment = HeaderValue::from_static("attachment");
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).unwrap_or(attachment));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    // Bodies never change.
    let caching = HeaderValue::from_static("private, immutable, max-age=31536000");
    headers.insert(header::CACHE_CONTROL, caching);
    response
}

/// RFC 8187: everything but the unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes().take(1_024) {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_header() {
        assert_eq!(percent_encode("가 \"\r\n/.eml"), "%EA%B0%80%20%22%0D%0A%2F.eml");
    }
}
