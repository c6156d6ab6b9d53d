//! Schemas that writers send: Arroyo's sinks when a pipeline starts, Confluent's serializers before their first record.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use millrace_schemas::{registry, resolve};
use serde_json::json;

use super::error::RegistryError;
use super::subjects::described;
use super::{Registry, answer, body, topic_of};

/// Gives the id of a schema, which it gets now when it has none.
pub(super) async fn register(
    State(registry): State<Arc<Registry>>,
    Path(subject): Path<String>,
    request: Request,
) -> Result<Response, RegistryError> {
    let _turn = registry.admit(request.headers())?;
    let topic = topic_of(&subject)?;
    let schema = body::schema(request).await?;
    let differences = resolve::differences(&schema, &registry::newest(topic).schema);
    if !differences.is_empty() {
        metrics::counter!("millrace_registry_refused_total").increment(1);
        return Err(RegistryError::Incompatible { topic, differences });
    }
    let canonical = schema.canonical_form();
    let known = registry.topic.view(|view| view.find(topic, &canonical));
    let registered = match known {
        Some(known) => known,
        None if topic.is_compacted() => return Err(RegistryError::Ours(topic)),
        None => {
            let registered = registry.topic.register(topic, &canonical).await?;
            metrics::counter!("millrace_registry_registered_total").increment(1);
            tracing::info!(%topic, id = registered.id, "a schema is registered");
            registered
        }
    };
    Ok(answer(&json!({ "id": registered.id })))
}

/// Gives the version of a schema that has been registered.
pub(super) async fn look_up(
    State(registry): State<Arc<Registry>>,
    Path(subject): Path<String>,
    request: Request,
) -> Result<Response, RegistryError> {
    let _turn = registry.admit(request.headers())?;
    let topic = topic_of(&subject)?;
    let schema = body::schema(request).await?;
    if !resolve::differences(&schema, &registry::newest(topic).schema).is_empty() {
        // No such schema was ever taken.
        return Err(RegistryError::UnknownSchema);
    }
    let canonical = schema.canonical_form();
    registry.topic.catch_up().await?;
    let known = registry.topic.view(|view| view.find(topic, &canonical));
    known.map(|known| answer(&described(known))).ok_or(RegistryError::UnknownSchema)
}
