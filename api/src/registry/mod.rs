//! The schema registry, as Confluent's clients and Arroyo know it.
//!
//! It has the schemas that Millrace writes with, and takes in those that other writers register for its topics, when
//! records written with them can be read as ours. Ids are kept for ever. There are no secrets in it, so it is read without
//! a login.
//!
//! - [`subjects`], [`ids`]: what there is
//! - [`register`]: schemas that are sent here
//! - [`compatibility`]: whether one would be taken
//! - [`body`]: what is sent; [`guard`], [`pace`]: by whom, and how much of it at a time
//! - [`error`]: errors as Confluent numbers them
//!
//! The paths are those of Confluent's registry, both at the root and under `/schemas`: Arroyo takes `/schemas/ids/…` from
//! the root and `subjects/…` from beside the last slash of its endpoint, whatever that is; other clients take all of them
//! from their base URL.

mod body;
mod compatibility;
mod error;
mod guard;
mod ids;
mod pace;
mod register;
mod subjects;

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use millrace_schemas::Topic;
use millrace_schemas::registry::{self, Registered};
use millrace_storage::schemas::SchemaTopic;
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;

use error::RegistryError;
use guard::Guard;
use pace::Pace;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// What is taken: our newest schema reads what the new one writes.
const COMPATIBILITY: &str = "FORWARD";

/// The registry over a log.
pub struct Registry {
    topic: Arc<SchemaTopic>,
    guard: Guard,
    pace: Pace,
}

impl Registry {
    pub fn new(topic: Arc<SchemaTopic>) -> Self {
        Self { topic, guard: Guard::default(), pace: Pace::default() }
    }

    /// Takes schemas from those alone who send this password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.guard = Guard::of(password);
        self
    }

    /// A turn for a request that sends a schema, until it is dropped.
    fn admit(&self, headers: &HeaderMap) -> Result<SemaphorePermit<'_>, RegistryError> {
        self.guard.admit(headers)?;
        self.pace.take()
    }

    /// The schema with an id.
    async fn by_id(&self, id: u32) -> Result<&'static Registered, RegistryError> {
        if id < registry::FIRST_REGISTERED_ID {
            return registry::by_id(id).ok_or(RegistryError::UnknownSchema);
        }
        if let Some(known) = self.topic.view(|view| view.by_id(id)) {
            return Ok(known);
        }
        self.topic.catch_up().await?;
        self.topic.view(|view| view.by_id(id)).ok_or(RegistryError::UnknownSchema)
    }

    /// All versions of a topic's schema: ours, then those that others registered.
    async fn versions(&self, topic: Topic) -> Result<Vec<&'static Registered>, RegistryError> {
        self.topic.catch_up().await?;
        let mut versions = registry::versions(topic);
        versions.extend(self.topic.view(|view| view.of(topic)));
        Ok(versions)
    }

    /// A version as a path names it. The latest is what Millrace writes.
    async fn version(&self, topic: Topic, version: &str) -> Result<&'static Registered, RegistryError> {
        if matches!(version, "latest" | "-1") {
            return Ok(registry::newest(topic));
        }
        let number: u32 = version.parse().map_err(|_| RegistryError::BadVersion(version.to_owned()))?;
        let versions = self.versions(topic).await?;
        versions.into_iter().find(|known| known.version == number).ok_or(RegistryError::UnknownVersion(number))
    }
}

/// The topic of a subject.
fn topic_of(subject: &str) -> Result<Topic, RegistryError> {
    Topic::of_subject(subject).ok_or_else(|| RegistryError::UnknownSubject(subject.to_owned()))
}

/// The registry's paths.
pub fn router(registry: Arc<Registry>) -> Router {
    let mut router = Router::new();
    for base in ["", "/schemas"] {
        let path = |path: &str| format!("{base}{path}");
        router = router
            .route(&path("/subjects"), get(subjects::list))
            .route(&path("/subjects/{subject}"), post(register::look_up))
            .route(&path("/subjects/{subject}/versions"), get(subjects::versions).post(register::register))
            .route(&path("/subjects/{subject}/versions/"), get(subjects::versions).post(register::register))
            .route(&path("/subjects/{subject}/versions/{version}"), get(subjects::version))
            .route(&path("/subjects/{subject}/versions/{version}/schema"), get(subjects::schema))
            .route(&path("/subjects/{subject}/versions/{version}/referencedby"), get(subjects::referenced_by))
            .route(&path("/schemas/types"), get(ids::types))
            .route(&path("/schemas/ids/{id}"), get(ids::by_id))
            .route(&path("/schemas/ids/{id}/schema"), get(ids::schema))
            .route(&path("/schemas/ids/{id}/subjects"), get(ids::subjects))
            .route(&path("/schemas/ids/{id}/versions"), get(ids::versions))
            .route(&path("/compatibility/subjects/{subject}/versions"), post(compatibility::with_newest))
            .route(&path("/compatibility/subjects/{subject}/versions/{version}"), post(compatibility::with_version))
            .route(&path("/config"), get(config))
            .route(&path("/config/{subject}"), get(config_of))
            .route(&path("/mode"), get(mode))
            .route(&path("/mode/{subject}"), get(mode_of));
    }
    router.method_not_allowed_fallback(|| async { RegistryError::NotPermitted }).with_state(registry)
}

/// JSON as the registry's clients expect it.
fn answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], value.to_string()).into_response()
}

async fn config() -> Response {
    answer(&json!({ "compatibilityLevel": COMPATIBILITY }))
}

async fn config_of(Path(subject): Path<String>) -> Result<Response, RegistryError> {
    topic_of(&subject)?;
    Ok(config().await)
}

async fn mode() -> Response {
    answer(&json!({ "mode": "READWRITE" }))
}

async fn mode_of(Path(subject): Path<String>) -> Result<Response, RegistryError> {
    topic_of(&subject)?;
    Ok(mode().await)
}
