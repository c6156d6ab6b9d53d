//! A schema as clients send it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use millrace_schemas::resolve::{self, MAX_SCHEMA_BYTES, Schema};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::error::RegistryError;

/// A schema of the largest size, every other character of it escaped.
const MAX_BODY_BYTES: usize = 2 * MAX_SCHEMA_BYTES;

const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What else clients send (metadata, rules) is not ours to know.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaRequest {
    schema: String,
    #[serde(default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Value>>,
}

/// Reads the schema that a request carries.
pub(super) async fn schema(request: Request) -> Result<Schema, RegistryError> {
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        return Err(RegistryError::MediaType);
    }
    let body = read(body).await?;
    let request: SchemaRequest =
        serde_json::from_slice(&body).map_err(|error| RegistryError::BadRequest(error.to_string()))?;
    if let Some(other) = request.schema_type.filter(|kind| kind != "AVRO") {
        return Err(RegistryError::Type(other));
    }
    if request.references.is_some_and(|references| !references.is_empty()) {
        return Err(RegistryError::References);
    }
    Ok(resolve::parse(&request.schema)?)
}

/// Whether it says so. A page in somebody's browser cannot, without being asked whether it may.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/vnd.schemaregistry") && essence.ends_with("+json"))
}

async fn read(body: Body) -> Result<Bytes, RegistryError> {
    let collected = timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match collected.map_err(|_| RegistryError::Timeout)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(RegistryError::TooLarge(MAX_BODY_BYTES)),
        Err(error) => Err(RegistryError::BadRequest(format!("it could not be read: {error}"))),
    }
}
