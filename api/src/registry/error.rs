//! Errors as Confluent numbers them: the first three digits are the HTTP status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_schemas::Topic;
use millrace_schemas::resolve::InvalidSchema;
use millrace_storage::LogError;
use millrace_storage::schemas::RegisterError;
use serde_json::json;

use super::CONTENT_TYPE;

#[derive(Debug, thiserror::Error)]
pub(super) enum RegistryError {
    #[error("the subject {0} is not found; those of Millrace are {subjects}", subjects = known_subjects())]
    UnknownSubject(String),
    #[error("version {0} is not found")]
    UnknownVersion(u32),
    #[error("the schema is not found")]
    UnknownSchema,
    #[error("the version {0} is none: it is a number, or latest")]
    BadVersion(String),
    /// What keeps its records from being read as ours.
    #[error("records of this schema cannot be read as {topic}: {}", .differences.join("; "))]
    Incompatible { topic: Topic, differences: Vec<String> },
    #[error("{0} is written by Millrace alone")]
    Ours(Topic),
    #[error(transparent)]
    Invalid(#[from] InvalidSchema),
    #[error("the schema is of type {0}; only AVRO is taken")]
    Type(String),
    #[error("the schema refers to others, which is not taken; send it whole")]
    References,
    #[error("the body is no request of a schema: {0}")]
    BadRequest(String),
    #[error("send JSON, as application/vnd.schemaregistry.v1+json")]
    MediaType,
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("schemas are taken from those alone who send the registry's password (HTTP Basic, by any name)")]
    Unauthorized,
    #[error("too many schemas are sent; try again in a second")]
    Busy,
    #[error("schemas are kept for ever, and nothing about them can be changed")]
    NotPermitted,
    #[error("{0}")]
    Full(String),
    #[error("the log cannot be reached now; try again")]
    Log,
}

fn known_subjects() -> String {
    Topic::ALL.map(Topic::subject).join(", ")
}

impl RegistryError {
    fn code(&self) -> u32 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Unauthorized => 40101,
            Self::UnknownSubject(_) => 40401,
            Self::UnknownVersion(_) => 40402,
            Self::UnknownSchema => 40403,
            Self::NotPermitted => 405,
            Self::Timeout => 408,
            Self::Incompatible { .. } | Self::Ours(_) => 409,
            Self::TooLarge(_) => 413,
            Self::MediaType => 415,
            Self::Invalid(_) | Self::Type(_) | Self::References => 42201,
            Self::BadVersion(_) => 42202,
            Self::Full(_) => 42205,
            Self::Busy => 429,
            Self::Log => 50001,
        }
    }

    fn status(&self) -> StatusCode {
        let code = self.code();
        let status = if code >= 1_000 { code / 100 } else { code };
        u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default()
    }
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let body = json!({ "error_code": self.code(), "message": self.to_string() });
        let content_type = [(header::CONTENT_TYPE, CONTENT_TYPE)];
        let mut response = (self.status(), content_type, body.to_string()).into_response();
        let more = match self {
            Self::Busy => Some((header::RETRY_AFTER, "1")),
            Self::Unauthorized => Some((header::WWW_AUTHENTICATE, "Basic realm=\"schemas\"")),
            _ => None,
        };
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<LogError> for RegistryError {
    fn from(error: LogError) -> Self {
        tracing::warn!(%error, "registered schemas cannot be read or written");
        Self::Log
    }
}

impl From<RegisterError> for RegistryError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::TooMany(_) => Self::Full(error.to_string()),
            RegisterError::Log(error) => error.into(),
            RegisterError::Codec(error) => {
                tracing::error!(%error, "an entry of the topic schemas cannot be made");
                Self::Log
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_in_the_number() {
        assert_eq!(RegistryError::UnknownSchema.status(), StatusCode::NOT_FOUND);
        assert_eq!(RegistryError::Ours(Topic::Directory).status(), StatusCode::CONFLICT);
        assert_eq!(RegistryError::References.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(RegistryError::Log.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
