//! The shapes of Arroyo's REST API (0.15 and 0.16), as far as they are used here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A list; `has_more` stands only in those that come in pages.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Collection<T> {
    pub(crate) data: Vec<T>,
    #[serde(default)]
    pub(crate) has_more: bool,
}

/// What refusals say.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Udf<'a> {
    pub(crate) definition: &'a str,
    pub(crate) language: &'static str,
}

impl<'a> Udf<'a> {
    pub(crate) fn rust(definition: &'a str) -> Self {
        Self { definition, language: "rust" }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct UdfPost<'a> {
    /// A folder in the console.
    pub(crate) prefix: &'static str,
    pub(crate) language: &'static str,
    pub(crate) definition: &'a str,
    pub(crate) description: &'static str,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GlobalUdf {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) definition: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct UdfValidation {
    pub(crate) errors: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ValidateQuery<'a> {
    pub(crate) query: &'a str,
    pub(crate) udfs: Vec<Udf<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct QueryValidation {
    #[serde(default)]
    pub(crate) errors: Vec<Diagnostic>,
}

/// Until 0.15 a plain text, then with its place.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Diagnostic {
    Text(String),
    Placed { message: String, span: Option<Span> },
}

#[derive(Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: Location,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Location {
    pub(crate) line: u64,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(message) | Self::Placed { message, span: None } => f.write_str(message),
            Self::Placed { message, span: Some(span) } => write!(f, "line {}: {message}", span.start.line),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct PipelinePost<'a> {
    pub(crate) name: &'a str,
    pub(crate) query: &'a str,
    pub(crate) parallelism: u64,
    pub(crate) checkpoint_interval_micros: u64,
    pub(crate) env_vars: &'a BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PipelinePatch {
    pub(crate) stop: Stop,
}

#[derive(Debug, Serialize)]
pub(crate) struct PipelineRestart {
    pub(crate) force: bool,
}

/// How a job is to end, or [`Stop::None`] that it is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stop {
    None,
    Checkpoint,
    Immediate,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PipelineInfo {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Its text, as it was posted.
    #[serde(default)]
    pub(crate) query: String,
    pub(crate) created_at: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) failure_reason: Option<FailureReason>,
    /// Until 0.15 in place of the reason.
    #[serde(default)]
    pub(crate) failure_message: Option<String>,
    /// What its workers are told; None until 0.15, which tells them nothing.
    #[serde(default)]
    pub(crate) env_vars: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FailureReason {
    pub(crate) error: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct JobError {
    pub(crate) id: String,
    pub(crate) created_at: u64,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) details: String,
}

/// One that has not failed.
#[derive(Debug, Deserialize)]
pub(crate) struct Checkpoint {
    /// None while it is being made, and while what it made is being committed.
    #[serde(default)]
    finish_time: Option<u64>,
}

impl Checkpoint {
    pub(crate) fn is_finished(&self) -> bool {
        self.finish_time.is_some()
    }
}

/// Per operator.
#[derive(Debug, Deserialize)]
pub(crate) struct OperatorMetrics {
    pub(crate) metric_groups: Vec<MetricGroup>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MetricGroup {
    /// `messages_recv`, `messages_sent`, …
    pub(crate) name: String,
    pub(crate) subtasks: Vec<SubtaskMetrics>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SubtaskMetrics {
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Metric {
    /// Microseconds since 1970 UTC, by Arroyo's clock.
    pub(crate) time: u64,
    /// A rate a second.
    pub(crate) value: f64,
}
