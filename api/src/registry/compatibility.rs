//! Whether a schema would be taken: whether records written with it can be read with another.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use millrace_schemas::registry::Registered;
use millrace_schemas::{registry, resolve};
use serde_json::json;

use super::error::RegistryError;
use super::{Registry, answer, body, topic_of};

pub(super) async fn with_newest(
    State(registry): State<Arc<Registry>>,
    Path(subject): Path<String>,
    request: Request,
) -> Result<Response, RegistryError> {
    let _turn = registry.admit(request.headers())?;
    compare(registry::newest(topic_of(&subject)?), request).await
}

pub(super) async fn with_version(
    State(registry): State<Arc<Registry>>,
    Path((subject, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, RegistryError> {
    let _turn = registry.admit(request.headers())?;
    compare(registry.version(topic_of(&subject)?, &version).await?, request).await
}

async fn compare(reader: &Registered, request: Request) -> Result<Response, RegistryError> {
    let writer = body::schema(request).await?;
    let differences = resolve::differences(&writer, &reader.schema);
    Ok(answer(&json!({ "is_compatible": differences.is_empty(), "messages": differences })))
}
