//! Who is asking: HTTP Basic (RFC 7617) with the account's address and password, or a bearer token (RFC 6750).

pub mod sessions;
pub mod throttle;
pub mod token;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request::Parts};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_directory::{Account, DirectoryError};

use crate::Api;
use crate::error::HttpError;

/// No header that we take is longer.
const MAX_CREDENTIALS_BYTES: usize = 4_096;

/// The peer of the connection, as [`crate::serve`] puts it into each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The account that a request was authenticated as.
#[derive(Clone, Debug)]
pub struct Identity(pub Arc<Account>);

pub(crate) enum Credentials {
    Basic { address: String, password: String },
    Bearer(String),
}

impl FromRequestParts<Arc<Api>> for Identity {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, HttpError> {
        let source = source_of(parts);
        match credentials(&parts.headers).ok_or(HttpError::Unauthorized)? {
            Credentials::Basic { address, password } => log_in(api, &address, &password, source).await.map(Self),
            Credentials::Bearer(token) => of_token(api, &token).await.map(Self),
        }
    }
}

/// The account of a token, which ends with the credential that it was opened with.
async fn of_token(api: &Api, token: &str) -> Result<Arc<Account>, HttpError> {
    let now = SystemTime::now();
    let session = api.sessions.read(token, now).ok_or(HttpError::Unauthorized)?;
    if !api.sessions.holds(&session).await? {
        return Err(HttpError::Unauthorized);
    }
    let current = || api.directory.account(session.account_id());
    let is_of = |account: &Arc<Account>| api.sessions.is_of(&session, account);
    if let Some(account) = current().filter(is_of) {
        return Ok(account);
    }
    // It may be newer than what this process knows: opened elsewhere, by an account or a password of a moment ago.
    api.directory.refresh().await.map_err(unknown_account)?;
    if let Some(account) = current().filter(is_of) {
        return Ok(account);
    }
    // For good, even if the old credential comes back.
    api.sessions.end(&session, api.options.token_lifetime, now).await?;
    Err(HttpError::Unauthorized)
}

fn unknown_account(error: DirectoryError) -> HttpError {
    tracing::warn!(%error, "accounts cannot be looked up");
    HttpError::Busy("accounts cannot be looked up now; try again later")
}

/// Whether a connection that was opened as `account` may go on: the account is still there, under the same credential.
pub(crate) fn still_holds(api: &Api, account: &Account) -> bool {
    let current = api.directory.account(&account.id);
    current.is_some_and(|current| current.credential_digest() == account.credential_digest())
}

pub(crate) fn source_of(parts: &Parts) -> IpAddr {
    parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

/// Reads the `Authorization` header, if there is one that we understand.
pub(crate) fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    if value.len() > MAX_CREDENTIALS_BYTES {
        return None;
    }
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Bearer(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (address, password) = decoded.split_once(':')?;
    Some(Credentials::Basic { address: address.to_owned(), password: password.to_owned() })
}

/// Checks address and password.
///
/// # Errors
/// [`HttpError::Unauthorized`], and [`HttpError::TooManyLogins`] after too many of these; [`HttpError::Busy`] where nobody
/// can tell now, which counts as one of them.
pub(crate) async fn log_in(
    api: &Api,
    address: &str,
    password: &str,
    source: IpAddr,
) -> Result<Arc<Account>, HttpError> {
    if let Some(seconds) = api.throttle.wait_seconds(address, source, Instant::now()) {
        return Err(HttpError::TooManyLogins(seconds));
    }
    let credential = || api.directory.account_of(address).ok().map(|account| account.credential_digest());
    let known = credential();
    let mut found = api.directory.authenticate(address, password).await;
    if found.is_none() {
        // Before the look, which may take long: else an outage would be the time to guess in.
        api.throttle.failed(address, source, Instant::now());
        // Another process may have added the account, or set the password, a moment ago.
        api.directory.be_up_to_date().await.map_err(|error| unknown_account(error.into()))?;
        if credential() != known {
            found = api.directory.authenticate(address, password).await;
        }
    }
    let Some(account) = found else {
        metrics::counter!("millrace_api_failed_logins_total").increment(1);
        tracing::info!(%source, "login refused");
        return Err(HttpError::Unauthorized);
    };
    api.throttle.succeeded(address, source);
    Ok(account)
}
