//! Questions in SQL, and the audit.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use millrace_query::sql::{Format, write_batches};
use serde::Deserialize;
use serde_json::json;

use super::error::AdminError;
use super::progress;
use crate::node::{Node, Role};

#[derive(Deserialize)]
pub struct Query {
    sql: String,
    format: String,
}

pub async fn query(State(node): State<Arc<Node>>, Json(query): Json<Query>) -> Result<Response, AdminError> {
    let format: Format = query.format.parse().map_err(AdminError::bad_request)?;
    node.require(&[Role::Lander]).map_err(AdminError::conflict)?;
    node.begun().await.map_err(AdminError::internal)?;
    let (schema, batches) = node.sql.query_with_schema(&query.sql).await.map_err(AdminError::bad_request)?;
    let mut bytes = Vec::new();
    write_batches(format, &schema, &batches, &mut bytes).map_err(AdminError::bad_request)?;
    Ok(Body::from(bytes).into_response())
}

#[derive(Deserialize)]
pub struct Audit {
    bodies: bool,
}

pub async fn audit(State(node): State<Arc<Node>>, Json(audit): Json<Audit>) -> Response {
    progress::respond("auditing", move |progress| async move {
        let report = node.audit(audit.bodies, |done, total| progress.step(done, total)).await?;
        Ok(json!({ "is_clean": report.is_clean(), "text": report.to_string(), "report": report }))
    })
}
