//! How a process is: alive, ready, and its figures. Every role serves these, with or without the API beside them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::error::HttpError;

/// Says whether all parts of the process work, or what does not.
pub type Readiness = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What is served.
pub struct Status {
    pub metrics: Option<PrometheusHandle>,
    pub readiness: Readiness,
}

impl Default for Status {
    fn default() -> Self {
        Self { metrics: None, readiness: Box::new(|| Ok(())) }
    }
}

/// `/livez`: the process answers; restart it when it does not. `/healthz`: it can do its work; send it none while it says
/// that it cannot. `/metrics`: Prometheus.
pub fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/livez", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics_text))
        .with_state(status)
}

/// 200 when all parts say that they work, else 503 and why.
async fn health(State(status): State<Arc<Status>>) -> Response {
    match (status.readiness)() {
        Ok(()) => Json(json!({ "status": "ok" })).into_response(),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unready", "detail": why }))).into_response()
        }
    }
}

async fn metrics_text(State(status): State<Arc<Status>>) -> Result<Response, HttpError> {
    let handle = status.metrics.as_ref().ok_or(HttpError::NotFound)?;
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((content_type, handle.render()).into_response())
}
