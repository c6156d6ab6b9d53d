//! Subjects and their versions.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use millrace_schemas::Topic;
use millrace_schemas::registry::Registered;
use serde_json::{Value, json};

use super::error::RegistryError;
use super::{Registry, answer, topic_of};

/// A version as clients are told of it. The type is left out where it is AVRO.
pub(super) fn described(registered: &Registered) -> Value {
    json!({
        "subject": registered.subject,
        "id": registered.id,
        "version": registered.version,
        "schema": registered.text,
    })
}

pub(super) async fn list() -> Response {
    answer(&json!(Topic::ALL.map(Topic::subject)))
}

pub(super) async fn versions(
    State(registry): State<Arc<Registry>>,
    Path(subject): Path<String>,
) -> Result<Response, RegistryError> {
    let versions = registry.versions(topic_of(&subject)?).await?;
    Ok(answer(&versions.iter().map(|known| known.version).collect()))
}

pub(super) async fn version(
    State(registry): State<Arc<Registry>>,
    Path((subject, version)): Path<(String, String)>,
) -> Result<Response, RegistryError> {
    Ok(answer(&described(registry.version(topic_of(&subject)?, &version).await?)))
}

pub(super) async fn schema(
    State(registry): State<Arc<Registry>>,
    Path((subject, version)): Path<(String, String)>,
) -> Result<Response, RegistryError> {
    Ok(super::ids::text(registry.version(topic_of(&subject)?, &version).await?))
}

/// No schema of ours is part of another.
pub(super) async fn referenced_by(
    State(registry): State<Arc<Registry>>,
    Path((subject, version)): Path<(String, String)>,
) -> Result<Response, RegistryError> {
    registry.version(topic_of(&subject)?, &version).await?;
    Ok(answer(&json!([])))
}
