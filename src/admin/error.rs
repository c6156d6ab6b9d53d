//! Errors of the admin interface: a status and a sentence for the person at the command line.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use millrace_directory::DirectoryError;
use serde_json::json;

/// What a handler fails with.
#[derive(Debug)]
pub struct AdminError {
    status: StatusCode,
    message: String,
}

impl AdminError {
    pub fn bad_request(message: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.to_string() }
    }

    pub fn not_found(message: impl ToString) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.to_string() }
    }

    /// What the node cannot do as it was started.
    pub fn conflict(message: impl ToString) -> Self {
        Self { status: StatusCode::CONFLICT, message: message.to_string() }
    }

    pub fn internal(message: impl ToString) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: message.to_string() }
    }
}

impl From<DirectoryError> for AdminError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Log(_) | DirectoryError::Unseen(_) | DirectoryError::Codec(_) => Self::internal(error),
            DirectoryError::UnknownAccount(_) | DirectoryError::UnknownAlias(_) => Self::not_found(error),
            _ => Self::bad_request(error),
        }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}
