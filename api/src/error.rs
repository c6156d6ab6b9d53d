//! The one place where errors become HTTP statuses and JMAP errors (RFC 8620 section 3.6, RFC 7807).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_query::mail::{ChangeError, MailError, Rejected};
use millrace_storage::BlobError;
use millrace_storage::revocations::RevocationError;
use serde_json::{Map, Value, json};

/// When to try again what was refused because too much is under way.
const BUSY_SECONDS: u64 = 5;

/// Why a whole request was refused (RFC 8620 section 3.6.1).
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the body is not I-JSON: {0}")]
    NotJson(String),
    #[error("the body is not a JMAP request: {0}")]
    NotRequest(String),
    #[error("this server does not have the capability '{0}'")]
    UnknownCapability(String),
    /// The limit's name as in the session, and its value.
    #[error("the request exceeds {0} ({1})")]
    Limit(&'static str, usize),
    #[error("the request took longer than {0} seconds; ask for less in one request")]
    TooLong(u64),
    #[error("the response has more than {0} bytes; ask for less in one request")]
    ResponseTooLarge(usize),
}

impl RequestError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Limit("maxSizeUpload", _) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Limit("maxConcurrentUpload", _) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLong(_) | Self::ResponseTooLarge(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The problem details object, as HTTP and WebSocket both send it.
    pub fn problem(&self) -> Value {
        let kind = match self {
            Self::NotJson(_) => "notJSON",
            Self::NotRequest(_) => "notRequest",
            Self::UnknownCapability(_) => "unknownCapability",
            Self::Limit(..) => "limit",
            Self::TooLong(_) | Self::ResponseTooLarge(_) => {
                let status = self.status().as_u16();
                return json!({ "type": "about:blank", "status": status, "detail": self.to_string() });
            }
        };
        let mut problem = json!({
            "type": format!("urn:ietf:params:jmap:error:{kind}"),
            "status": self.status().as_u16(),
            "detail": self.to_string(),
        });
        if let Self::Limit(limit, _) = self {
            problem["limit"] = json!(limit);
        }
        problem
    }
}

/// Why an HTTP request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("log in with an address and its password, or with a bearer token")]
    Unauthorized,
    #[error("too many failed logins; try again in {0} seconds")]
    TooManyLogins(u64),
    #[error("there is nothing here for this account")]
    NotFound,
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    TooManyConnections(&'static str),
    #[error("the request took longer than {0} seconds to arrive")]
    Timeout(u64),
    #[error("the mail cannot be read now; try again later")]
    Unavailable,
    /// What there is of memory or storage is taken, for now.
    #[error("{0}")]
    Busy(&'static str),
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl HttpError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooManyLogins(_) | Self::TooManyConnections(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Unavailable | Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Request(request) => request.status(),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let status = self.status();
        let problem = match &self {
            Self::Request(request) => request.problem(),
            other => json!({"type": "about:blank", "status": status.as_u16(), "detail": other.to_string()}),
        };
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, problem.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Unauthorized => {
                let challenge = HeaderValue::from_static("Basic realm=\"Millrace\", charset=\"UTF-8\"");
                headers.append(header::WWW_AUTHENTICATE, challenge);
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::TooManyLogins(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Busy(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(BUSY_SECONDS));
            }
            _ => {}
        }
        response
    }
}

/// Why one method call failed (RFC 8620 sections 3.6.2 and 5).
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    #[error("no method of the capabilities in use has this name")]
    UnknownMethod,
    #[error("{0}")]
    InvalidArguments(String),
    #[error("{0}")]
    InvalidResultReference(String),
    #[error("there is no such account for this login")]
    AccountNotFound,
    #[error("{0}")]
    Forbidden(String),
    #[error("the state is {0} now; read what changed and try again")]
    StateMismatch(String),
    #[error("{0}")]
    CannotCalculateChanges(String),
    #[error("more than maxChanges changed; query again")]
    TooManyChanges,
    #[error("the anchor is not in the results")]
    AnchorNotFound,
    #[error("{0}")]
    UnsupportedFilter(String),
    #[error("{0}")]
    UnsupportedSort(String),
    #[error("at most {0} objects are taken in one call")]
    RequestTooLarge(usize),
    #[error("the mail cannot be reached now; try again later")]
    ServerUnavailable,
    #[error("the changes are kept and will show soon; read again before the next change")]
    ServerPartialFail,
    #[error("this call failed inside the server; it is logged")]
    ServerFail,
}

impl MethodError {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownMethod => "unknownMethod",
            Self::InvalidArguments(_) => "invalidArguments",
            Self::InvalidResultReference(_) => "invalidResultReference",
            Self::AccountNotFound => "accountNotFound",
            Self::Forbidden(_) => "forbidden",
            Self::StateMismatch(_) => "stateMismatch",
            Self::CannotCalculateChanges(_) => "cannotCalculateChanges",
            Self::TooManyChanges => "tooManyChanges",
            Self::AnchorNotFound => "anchorNotFound",
            Self::UnsupportedFilter(_) => "unsupportedFilter",
            Self::UnsupportedSort(_) => "unsupportedSort",
            Self::RequestTooLarge(_) => "requestTooLarge",
            Self::ServerUnavailable => "serverUnavailable",
            Self::ServerPartialFail => "serverPartialFail",
            Self::ServerFail => "serverFail",
        }
    }

    /// The arguments of the `error` response.
    pub fn arguments(&self) -> Map<String, Value> {
        let mut arguments = Map::new();
        arguments.insert("type".into(), self.kind().into());
        arguments.insert("description".into(), self.to_string().into());
        arguments
    }

    pub fn invalid(description: impl Into<String>) -> Self {
        Self::InvalidArguments(description.into())
    }
}

impl From<MailError> for MethodError {
    fn from(error: MailError) -> Self {
        tracing::warn!(%error, "mail cannot be read");
        Self::ServerUnavailable
    }
}

impl From<MailError> for HttpError {
    fn from(error: MailError) -> Self {
        tracing::warn!(%error, "mail cannot be read");
        Self::Unavailable
    }
}

impl From<RevocationError> for HttpError {
    fn from(error: RevocationError) -> Self {
        tracing::warn!(%error, "sessions cannot be opened, told or ended");
        Self::Busy("sessions cannot be looked up now; try again later")
    }
}

impl From<BlobError> for HttpError {
    fn from(error: BlobError) -> Self {
        tracing::warn!(%error, "a body cannot be stored or read");
        match error {
            BlobError::Unavailable(_) => Self::Busy("this cannot be stored or read now; try again later"),
            BlobError::NotFound(_) | BlobError::Damaged { .. } => Self::NotFound,
        }
    }
}

impl From<ChangeError> for MethodError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::StateMismatch { found, .. } => Self::StateMismatch(found.to_string()),
            ChangeError::NotYetVisible => Self::ServerPartialFail,
            other => {
                tracing::warn!(error = %other, "mail cannot be changed");
                Self::ServerUnavailable
            }
        }
    }
}

impl From<BlobError> for MethodError {
    fn from(error: BlobError) -> Self {
        tracing::warn!(%error, "a body cannot be read");
        match error {
            BlobError::Unavailable(_) => Self::ServerUnavailable,
            BlobError::NotFound(_) | BlobError::Damaged { .. } => Self::ServerFail,
        }
    }
}

/// Why one object of a `/set` was not changed (RFC 8620 section 5.3).
#[derive(Debug)]
pub enum SetError {
    Forbidden(&'static str),
    NotFound,
    WillDestroy,
    InvalidPatch(String),
    InvalidProperties { properties: Vec<String>, description: String },
    TooManyKeywords(usize),
}

impl SetError {
    pub fn to_json(&self) -> Value {
        match self {
            Self::Forbidden(why) => json!({"type": "forbidden", "description": why}),
            Self::NotFound => json!({"type": "notFound"}),
            Self::WillDestroy => json!({"type": "willDestroy"}),
            Self::InvalidPatch(why) => json!({"type": "invalidPatch", "description": why}),
            Self::InvalidProperties { properties, description } => {
                json!({"type": "invalidProperties", "properties": properties, "description": description})
            }
            Self::TooManyKeywords(most) => {
                json!({"type": "tooManyKeywords", "description": format!("an email has at most {most} keywords")})
            }
        }
    }

    /// Why the mailboxes refused a change, though it was checked before: another writer came first.
    pub fn of_rejected(rejected: &Rejected) -> Self {
        match rejected {
            Rejected::NotFound => Self::NotFound,
            Rejected::NoMailbox | Rejected::UnknownMailbox(_) => Self::invalid("mailboxIds", rejected.to_string()),
            Rejected::BadKeyword(_) | Rejected::TooManyKeywords => Self::invalid("keywords", rejected.to_string()),
        }
    }

    pub fn invalid(property: &str, description: impl Into<String>) -> Self {
        Self::InvalidProperties { properties: vec![property.to_owned()], description: description.into() }
    }
}
