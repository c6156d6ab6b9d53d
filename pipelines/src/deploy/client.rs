//! A client of Arroyo's REST API.

use std::fmt::Write;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{
    Checkpoint, Collection, GlobalUdf, Job, JobError, OperatorMetrics, PipelineInfo, PipelinePatch, PipelinePost,
    PipelineRestart, QueryValidation, Refusal, Stop, Udf, UdfPost, UdfValidation, ValidateQuery,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A cold compilation of a function and all that it depends on takes minutes.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Pauses before a question is put again. What changes something is put once.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
const PAGE: usize = 50;
/// Most pages of one list.
const MAX_PAGES: usize = 200;
/// Longest answer taken.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Why Arroyo did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ArroyoError {
    #[error("Arroyo at {url} cannot be reached: {reason}; check arroyo.url and that it runs, then repeat")]
    Unreachable { url: String, reason: String },
    #[error("Arroyo refused to {what}: {reason}")]
    Refused { what: String, reason: String },
    #[error("Arroyo's answer when asked to {what} cannot be read: {reason}; is this version of it known to work?")]
    Unreadable { what: String, reason: String },
}

/// Arroyo at one address.
#[derive(Clone, Debug)]
pub struct ArroyoClient {
    url: String,
    http: Client,
}

impl ArroyoClient {
    /// `url` is Arroyo's own, as `http://host:5115`. Nothing is asked yet.
    ///
    /// # Errors
    /// The address is not one.
    pub fn new(url: &str) -> Result<Self, ArroyoError> {
        let url = url.trim_end_matches('/').to_owned();
        let unreachable = |reason: String| ArroyoError::Unreachable { url: url.clone(), reason };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(unreachable("it begins with http:// or https://".to_owned()));
        }
        let http = Client::builder().connect_timeout(CONNECT_TIMEOUT).build();
        let http = http.map_err(|error| unreachable(error.to_string()))?;
        Ok(Self { http, url })
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), ArroyoError> {
        let request = self.request(Method::GET, "/ping", ANSWER_TIMEOUT);
        self.answer("answer", request).await.map(|_| ())
    }

    pub(crate) async fn functions(&self) -> Result<Vec<GlobalUdf>, ArroyoError> {
        let list: Collection<GlobalUdf> = self.get("list functions", "/udfs").await?;
        Ok(list.data)
    }

    /// Compiles a function without keeping it; its compiler's errors.
    pub(crate) async fn validate_function(&self, definition: &str) -> Result<Vec<String>, ArroyoError> {
        let what = "compile a function";
        let found: UdfValidation =
            self.send(Method::POST, what, "/udfs/validate", &Udf::rust(definition), COMPILE_TIMEOUT).await?;
        Ok(found.errors)
    }

    pub(crate) async fn create_function(&self, definition: &str) -> Result<GlobalUdf, ArroyoError> {
        let post = UdfPost { prefix: "millrace", language: "rust", definition, description: "a stage of Millrace" };
        self.send(Method::POST, "make a function", "/udfs", &post, COMPILE_TIMEOUT).await
    }

    pub(crate) async fn delete_function(&self, id: &str) -> Result<(), ArroyoError> {
        let request = self.request(Method::DELETE, &format!("/udfs/{id}"), ANSWER_TIMEOUT);
        self.answer("delete a function", request).await.map(|_| ())
    }

    /// Plans a text there; what is wrong with it.
    pub(crate) async fn validate_query(&self, query: &str, definitions: &[String]) -> Result<Vec<String>, ArroyoError> {
        let udfs = definitions.iter().map(|definition| Udf::rust(definition)).collect();
        let body = ValidateQuery { query, udfs };
        let what = "plan a query";
        let found: QueryValidation =
            self.send(Method::POST, what, "/pipelines/validate_query", &body, ANSWER_TIMEOUT).await?;
        Ok(found.errors.iter().map(ToString::to_string).collect())
    }

    /// All pipelines but previews, newest first.
    pub(crate) async fn pipelines(&self) -> Result<Vec<PipelineInfo>, ArroyoError> {
        self.pages("list pipelines", "/pipelines", |pipeline: &PipelineInfo| pipeline.id.clone()).await
    }

    pub(crate) async fn create_pipeline(&self, post: &PipelinePost<'_>) -> Result<PipelineInfo, ArroyoError> {
        self.send(Method::POST, "make a pipeline", "/pipelines", post, COMPILE_TIMEOUT).await
    }

    pub(crate) async fn stop_pipeline(&self, id: &str, stop: Stop) -> Result<(), ArroyoError> {
        let what = if stop == Stop::None { "start a pipeline" } else { "stop a pipeline" };
        let path = format!("/pipelines/{id}");
        self.send::<PipelineInfo>(Method::PATCH, what, &path, &PipelinePatch { stop }, ANSWER_TIMEOUT).await.map(|_| ())
    }

    /// Starts one again that failed, from its last checkpoint.
    pub(crate) async fn restart_pipeline(&self, id: &str) -> Result<(), ArroyoError> {
        let (what, path) = ("restart a pipeline", format!("/pipelines/{id}/restart"));
        let body = PipelineRestart { force: false };
        self.send::<PipelineInfo>(Method::POST, what, &path, &body, ANSWER_TIMEOUT).await.map(|_| ())
    }

    pub(crate) async fn delete_pipeline(&self, id: &str) -> Result<(), ArroyoError> {
        let request = self.request(Method::DELETE, &format!("/pipelines/{id}"), ANSWER_TIMEOUT);
        self.answer("delete a pipeline", request).await.map(|_| ())
    }

    /// The job of a pipeline: there is one.
    pub(crate) async fn job(&self, pipeline: &str) -> Result<Job, ArroyoError> {
        let what = "show a pipeline's job";
        let list: Collection<Job> = self.get(what, &format!("/pipelines/{pipeline}/jobs")).await?;
        let missing = || ArroyoError::Unreadable { what: what.to_owned(), reason: "there is none".to_owned() };
        list.data.into_iter().next().ok_or_else(missing)
    }

    pub(crate) async fn errors(&self, pipeline: &str, job: &str) -> Result<Vec<JobError>, ArroyoError> {
        let path = format!("/pipelines/{pipeline}/jobs/{job}/errors");
        self.pages("show a job's errors", &path, |error: &JobError| error.id.clone()).await
    }

    pub(crate) async fn has_finished_checkpoint(&self, pipeline: &str, job: &str) -> Result<bool, ArroyoError> {
        let path = format!("/pipelines/{pipeline}/jobs/{job}/checkpoints");
        let list: Collection<Checkpoint> = self.get("show a job's checkpoints", &path).await?;
        Ok(list.data.iter().any(Checkpoint::is_finished))
    }

    pub(crate) async fn metrics(&self, pipeline: &str, job: &str) -> Result<Vec<OperatorMetrics>, ArroyoError> {
        let path = format!("/pipelines/{pipeline}/jobs/{job}/operator_metric_groups");
        let list: Collection<OperatorMetrics> = self.get("show a job's metrics", &path).await?;
        Ok(list.data)
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        id: impl Fn(&T) -> String,
    ) -> Result<Vec<T>, ArroyoError> {
        let mut all: Vec<T> = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut page = format!("{path}?limit={PAGE}");
            if let Some(last) = all.last() {
                let _ = write!(page, "&starting_after={}", id(last));
            }
            let found: Collection<T> = self.get(what, &page).await?;
            let is_last = !found.has_more || found.data.is_empty();
            all.extend(found.data);
            if is_last {
                return Ok(all);
            }
        }
        let reason = format!("it has more than {MAX_PAGES} pages");
        Err(ArroyoError::Unreadable { what: what.to_owned(), reason })
    }

    /// Asks, and asks again when nobody answers.
    async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, ArroyoError> {
        for pause in PAUSES {
            match self.answer(what, self.request(Method::GET, path, ANSWER_TIMEOUT)).await {
                Err(ArroyoError::Unreachable { .. }) => tokio::time::sleep(pause).await,
                answer => return read(what, &answer?),
            }
        }
        read(what, &self.answer(what, self.request(Method::GET, path, ANSWER_TIMEOUT)).await?)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        what: &str,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, ArroyoError> {
        read(what, &self.answer(what, self.request(method, path, timeout).json(body)).await?)
    }

    fn request(&self, method: Method, path: &str, timeout: Duration) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.url)).timeout(timeout)
    }

    async fn answer(&self, what: &str, request: RequestBuilder) -> Result<Vec<u8>, ArroyoError> {
        let unreachable = |reason: String| ArroyoError::Unreachable { url: self.url.clone(), reason };
        let mut response = request.send().await.map_err(|error| unreachable(causes(&error)))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(causes(&error)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                let reason = format!("it is longer than {MAX_ANSWER_BYTES} bytes");
                return Err(ArroyoError::Unreadable { what: what.to_owned(), reason });
            }
        }
        match status {
            status if status.is_success() => Ok(body),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Err(unreachable(refusal(status, &body)))
            }
            status => Err(ArroyoError::Refused { what: what.to_owned(), reason: refusal(status, &body) }),
        }
    }
}

fn read<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, ArroyoError> {
    let unreadable =
        |error: serde_json::Error| ArroyoError::Unreadable { what: what.to_owned(), reason: error.to_string() };
    serde_json::from_slice(body).map_err(unreadable)
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)])),
    }
}

/// reqwest says "error sending request" and keeps the reason behind it.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
