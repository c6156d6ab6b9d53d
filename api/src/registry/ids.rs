//! Schemas by their ids.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use millrace_schemas::registry::Registered;
use serde_json::json;

use super::error::RegistryError;
use super::{CONTENT_TYPE, Registry, answer};

/// What is no number is no id either.
fn parsed(id: &str) -> Result<u32, RegistryError> {
    id.parse().map_err(|_| RegistryError::UnknownSchema)
}

/// The schema as it stands.
pub(super) fn text(registered: &Registered) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], registered.text).into_response()
}

pub(super) async fn types() -> Response {
    answer(&json!(["AVRO"]))
}

pub(super) async fn by_id(
    State(registry): State<Arc<Registry>>,
    Path(id): Path<String>,
) -> Result<Response, RegistryError> {
    let registered = registry.by_id(parsed(&id)?).await?;
    Ok(answer(&json!({ "schema": registered.text })))
}

pub(super) async fn schema(
    State(registry): State<Arc<Registry>>,
    Path(id): Path<String>,
) -> Result<Response, RegistryError> {
    Ok(text(registry.by_id(parsed(&id)?).await?))
}

pub(super) async fn subjects(
    State(registry): State<Arc<Registry>>,
    Path(id): Path<String>,
) -> Result<Response, RegistryError> {
    let registered = registry.by_id(parsed(&id)?).await?;
    Ok(answer(&json!([registered.subject])))
}

pub(super) async fn versions(
    State(registry): State<Arc<Registry>>,
    Path(id): Path<String>,
) -> Result<Response, RegistryError> {
    let registered = registry.by_id(parsed(&id)?).await?;
    Ok(answer(&json!([{ "subject": registered.subject, "version": registered.version }])))
}
