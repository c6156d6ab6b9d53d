//! HTTP to a REST catalog: what was answered, and whether what was not answered may have been done.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::options::RestOptions;
use super::wire::{Config, Refusal};
use crate::backoff::Backoff;
use crate::tables::catalog::CatalogError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server writes metadata to its store before it answers.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of requests that change nothing.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Of an answer; metadata with a few thousand snapshots is some megabytes.
const MAX_BYTES: usize = 256 << 20;

pub(super) struct Client {
    http: reqwest::Client,
    /// What paths follow.
    base: Url,
}

pub(super) struct Reply {
    pub(super) status: StatusCode,
    body: Bytes,
}

/// What became of a request that changes something.
pub(super) enum Sent {
    Answered(Reply),
    /// It did not reach the server.
    Never(CatalogError),
    Unanswered(CatalogError),
}

impl Client {
    /// Asks the server how it wants to be spoken to.
    pub(super) async fn connect(options: RestOptions) -> Result<Self, CatalogError> {
        let (mut base, warehouse) = options.base()?;
        let mut client = Self { http: http(&options)?, base: base.clone() };
        let mut asked = base.join("v1/config").map_err(|error| client.refused(error.to_string()))?;
        if let Some(warehouse) = warehouse {
            asked.query_pairs_mut().append_pair("warehouse", &warehouse);
        }
        let config: Config = client.get_url(asked).await?.ok(&client)?.parse(&client)?;
        let prefix = config.overrides.get("prefix").or(config.defaults.get("prefix"));
        let path = prefix.map_or_else(|| "v1/".to_owned(), |prefix| format!("v1/{}/", prefix.trim_matches('/')));
        base = base.join(&path).map_err(|error| client.refused(error.to_string()))?;
        client.base = base;
        Ok(client)
    }

    pub(super) async fn get(&self, path: &str) -> Result<Reply, CatalogError> {
        self.get_url(self.url(path)?).await
    }

    /// Asks again when there is no answer.
    async fn get_url(&self, url: Url) -> Result<Reply, CatalogError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut attempt = 1;
        loop {
            let sent = self.send(Method::GET, url.clone(), None::<&()>).await;
            match sent {
                Sent::Answered(reply) if !reply.status.is_server_error() => return Ok(reply),
                sent if attempt == ATTEMPTS => return sent.reply(),
                _ => tokio::time::sleep(backoff.pause()).await,
            }
            attempt += 1;
        }
    }

    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Sent {
        match self.url(path) {
            Ok(url) => self.send(Method::POST, url, Some(body)).await,
            Err(error) => Sent::Never(error),
        }
    }

    async fn send(&self, method: Method, url: Url, body: Option<&impl Serialize>) -> Sent {
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        match request.send().await {
            Ok(response) => match read(response).await {
                Ok(reply) => Sent::Answered(reply),
                Err(reason) => Sent::Unanswered(self.unavailable(reason)),
            },
            Err(error) => {
                let (is_unsent, error) = (error.is_connect() || error.is_builder(), self.unavailable(describe(&error)));
                if is_unsent { Sent::Never(error) } else { Sent::Unanswered(error) }
            }
        }
    }

    fn url(&self, path: &str) -> Result<Url, CatalogError> {
        self.base.join(path).map_err(|error| self.refused(error.to_string()))
    }

    fn unavailable(&self, reason: String) -> CatalogError {
        CatalogError::Unavailable { at: self.base.to_string(), reason }
    }

    fn refused(&self, reason: String) -> CatalogError {
        CatalogError::Refused { at: self.base.to_string(), reason }
    }
}

impl Sent {
    /// The answer, where it does not matter what was done.
    pub(super) fn reply(self) -> Result<Reply, CatalogError> {
        match self {
            Sent::Answered(reply) => Ok(reply),
            Sent::Never(error) | Sent::Unanswered(error) => Err(error),
        }
    }
}

impl Reply {
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The reply, when it says that all went well.
    ///
    /// # Errors
    /// [`CatalogError::Refused`] when the server will not; [`CatalogError::Unavailable`] when it cannot now.
    pub(super) fn ok(self, client: &Client) -> Result<Self, CatalogError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let told = serde_json::from_slice::<Refusal>(&self.body).map(|refusal| refusal.error);
        let reason = told.map_or_else(
            |_| format!("it answered {}", self.status),
            |reason| format!("it answered {} ({}: {})", self.status, reason.kind, reason.message),
        );
        match self.status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(client.unavailable(reason)),
            status if status.is_server_error() => Err(client.unavailable(reason)),
            _ => Err(client.refused(reason)),
        }
    }

    /// What is in it. An answer that cannot be understood is as good as none.
    pub(super) fn parse<T: DeserializeOwned>(&self, client: &Client) -> Result<T, CatalogError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| client.unavailable(format!("its answer cannot be understood: {error}")))
    }
}

fn http(options: &RestOptions) -> Result<reqwest::Client, CatalogError> {
    let bad = |error: &dyn std::fmt::Display| CatalogError::Options(error.to_string());
    let mut headers = HeaderMap::new();
    if let Some(token) = &options.token {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
        let mut value = value.map_err(|_| bad(&"the token has characters that no header takes"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let mut builder = reqwest::Client::builder()
        .default_headers(headers)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent("millrace");
    if let Some(path) = &options.ca_file {
        let pem = std::fs::read(path).map_err(|error| bad(&format!("ca_file {}: {error}", path.display())))?;
        for certificate in Certificate::from_pem_bundle(&pem).map_err(|error| bad(&format!("ca_file: {error}")))? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|error| bad(&describe(&error)))
}

async fn read(mut response: reqwest::Response) -> Result<Reply, String> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(format!("its answer is longer than {MAX_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, body: body.into() })
}

/// The error with its causes, which its own text leaves out.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
