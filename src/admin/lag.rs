//! How far the pipelines of this node are behind.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use millrace_pipelines::deploy::{Runner, lag as ask};

use super::error::AdminError;
use crate::node::Node;

/// The report as text for people.
pub async fn lag(State(node): State<Arc<Node>>) -> Result<Json<String>, AdminError> {
    let report = ask(&*node.storage.log, &node.pipelines, Runner::Local).await.map_err(AdminError::internal)?;
    Ok(Json(report.to_string()))
}
