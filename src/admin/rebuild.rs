//! Building again what can be built from the tables and the log.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;

use super::error::AdminError;
use super::progress;
use crate::node::Node;

pub async fn rebuild(State(node): State<Arc<Node>>, Path(what): Path<String>) -> Result<Response, AdminError> {
    match what.as_str() {
        "search" => Ok(progress::respond("indexing", |progress| async move {
            let emails = node.rebuild_search(|done, total| progress.step(done, total)).await?;
            Ok(json!({ "emails": emails }))
        })),
        "hot" => Ok(progress::respond("reading", |progress| async move {
            let emails = node.rebuild_hot(|done, total| progress.step(done, total)).await?;
            Ok(json!({ "emails": emails }))
        })),
        other => Err(AdminError::not_found(format!("'{other}' cannot be built again; hot and search can"))),
    }
}
