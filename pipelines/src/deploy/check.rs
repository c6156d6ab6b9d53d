//! What would not run: here, and where an Arroyo can be reached, there.

use std::path::Path;

use super::client::{ArroyoClient, ArroyoError};
use super::functions::Function;
use super::plan::{Plan, called};
use crate::error::PipelineError;
use crate::files::{BUILT_IN, read_folder};
use crate::plan::Pipeline;

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub pipeline: String,
    pub question: &'static str,
    /// What was found, or what is wrong.
    pub answer: Result<String, String>,
}

/// All questions that were put.
#[derive(Debug, Default)]
pub struct CheckReport {
    pub checks: Vec<Check>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.answer.is_ok())
    }

    fn add(&mut self, pipeline: &str, question: &'static str, answer: Result<String, String>) {
        self.checks.push(Check { pipeline: pipeline.to_owned(), question, answer });
    }
}

/// Checks the built-in pipelines, or those of a folder, without any service: each file by itself, so that one that is
/// wrong hides no other. Returns those that can be used beside the report.
///
/// # Errors
/// The folder cannot be read.
pub fn check(folder: Option<&Path>) -> Result<(CheckReport, Vec<Pipeline>), PipelineError> {
    let files = match folder {
        Some(folder) => read_folder(folder)?,
        None => BUILT_IN.map(|(name, sql)| (name.to_owned(), sql.to_owned())).to_vec(),
    };
    let (mut report, mut pipelines) = (CheckReport::default(), Vec::new());
    for (name, sql) in files {
        match Pipeline::load(&name, &sql) {
            Ok(pipeline) => {
                report.add(&name, "parses and plans", Ok(format!("{} statements", pipeline.statements())));
                report.add(&name, "schemas match the topics", Ok(topics(&pipeline)));
                let functions = called(&name, &sql).map(|functions| names(&functions));
                report.add(&name, "all functions are there", functions.map_err(|error| error.to_string()));
                pipelines.push(pipeline);
            }
            Err(error) => report.add(&name, "parses and plans", Err(error.to_string())),
        }
    }
    Ok((report, pipelines))
}

/// Lets Arroyo plan the pipelines, each with its functions as they would be deployed. Nothing is compiled or changed.
///
/// # Errors
/// Arroyo cannot be reached.
pub async fn check_there(plan: &Plan, client: &ArroyoClient) -> Result<CheckReport, ArroyoError> {
    let mut report = CheckReport::default();
    for planned in &plan.pipelines {
        let definitions: Vec<String> = planned.functions.iter().map(Function::definition).collect();
        let answer = match client.validate_query(&planned.sql, &definitions).await {
            Ok(errors) if errors.is_empty() => Ok(planned.full_name()),
            Ok(errors) => Err(errors.join("; ")),
            Err(ArroyoError::Refused { reason, .. }) => Err(reason),
            Err(error) => return Err(error),
        };
        report.add(&planned.name, "Arroyo plans it", answer);
    }
    Ok(report)
}

fn topics(pipeline: &Pipeline) -> String {
    let sinks: Vec<String> = pipeline.sinks().iter().map(ToString::to_string).collect();
    format!("{} to {}", pipeline.source(), sinks.join(", "))
}

fn names(functions: &[Function]) -> String {
    functions.iter().map(|function| function.name).collect::<Vec<_>>().join(", ")
}
