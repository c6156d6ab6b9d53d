//! Results as tables, for people: columns as wide as they need to be, long texts below.

use std::fmt;

use super::api::Job;
use super::check::CheckReport;
use super::client::{ArroyoClient, ArroyoError};
use super::deployer::{DeployReport, Deployed, Outcome};
use super::lag::LagReport;
use super::plan::{called, split_name};
use crate::plan::Pipeline;

/// Rows of text, the first of them the heads of the columns.
struct Rows<const N: usize>(Vec<[String; N]>);

impl<const N: usize> Rows<N> {
    fn new(heads: [&str; N]) -> Self {
        Self(vec![heads.map(str::to_owned)])
    }

    fn add(&mut self, row: [String; N]) {
        self.0.push(row);
    }
}

impl<const N: usize> fmt::Display for Rows<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for row in &self.0 {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.0 {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                line += &format!("{cell:width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::new(["pipeline", "check", "result", "found"]);
        for check in &self.checks {
            let (result, found) = match &check.answer {
                Ok(found) => ("ok", found.clone()),
                Err(wrong) => ("WRONG", wrong.clone()),
            };
            rows.add([check.pipeline.clone(), check.question.to_owned(), result.to_owned(), found]);
        }
        rows.fmt(f)
    }
}

impl fmt::Display for LagReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::new(["pipeline", "topic", "partition", "position", "end", "records", "seconds"]);
        for lag in &self.lags {
            let position = lag.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
            let numbers = [u64::from(lag.partition).to_string(), position, lag.end.to_string()];
            let [partition, position, end] = numbers;
            let (records, seconds) = (lag.records.to_string(), lag.seconds.to_string());
            rows.add([lag.pipeline.clone(), lag.topic.to_string(), partition, position, end, records, seconds]);
        }
        rows.fmt(f)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("runs, unchanged"),
            Self::StartedAgain => f.write_str("runs, started again from its last checkpoint"),
            Self::Started => f.write_str("runs, new"),
            Self::TookOver(old) => write!(f, "runs, took over from {}", old.join(", ")),
        }
    }
}

impl fmt::Display for DeployReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::new(["", "name", "version", "state"]);
        for (name, state) in &self.functions {
            let state = state.as_ref().map_or_else(|_| "FAILED".to_owned(), ToString::to_string);
            rows.add(["function".to_owned(), (*name).to_owned(), String::new(), state]);
        }
        for pipeline in &self.pipelines {
            let state = pipeline.outcome.as_ref().map_or_else(|_| "FAILED".to_owned(), ToString::to_string);
            rows.add(["pipeline".to_owned(), pipeline.name.clone(), pipeline.version.clone(), state]);
        }
        rows.fmt(f)?;
        let functions = self.functions.iter().filter_map(|(_, state)| state.as_ref().err());
        let pipelines = self.pipelines.iter().filter_map(|pipeline| pipeline.outcome.as_ref().err());
        for error in functions.chain(pipelines) {
            writeln!(f, "{error}")?;
        }
        for Deployed { name, untold, .. } in self.pipelines.iter().filter(|pipeline| !pipeline.untold.is_empty()) {
            let untold = untold.join(", ");
            writeln!(
                f,
                "Arroyo does not tell the workers of {name} these variables (0.15 tells none): see that they stand in \
                 the workers' own environment, else mail becomes dead letters: {untold}"
            )?;
        }
        Ok(())
    }
}

/// The pipelines, and what runs of them at Arroyo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReport {
    /// Name, source, sinks, functions.
    pub pipelines: Vec<[String; 4]>,
    /// Name, version and state of the versions at Arroyo; None when it was not asked.
    pub versions: Option<Vec<[String; 3]>>,
}

/// Lists `pipelines`, and their versions at Arroyo when there is one.
///
/// # Errors
/// Arroyo cannot be reached.
pub async fn list(pipelines: &[Pipeline], client: Option<&ArroyoClient>) -> Result<ListReport, ArroyoError> {
    let rows = pipelines.iter().map(|pipeline| {
        let sinks: Vec<String> = pipeline.sinks().iter().map(ToString::to_string).collect();
        let functions = called(pipeline.name(), pipeline.sql()).unwrap_or_default();
        let functions: Vec<&str> = functions.iter().map(|function| function.name).collect();
        [pipeline.name().to_owned(), pipeline.source().to_string(), sinks.join(", "), functions.join(", ")]
    });
    let mut report = ListReport { pipelines: rows.collect(), versions: None };
    if let Some(client) = client {
        let mut versions = Vec::new();
        for there in client.pipelines().await? {
            if let Some((name, version)) = split_name(&there.name) {
                let Job { state, .. } = client.job(&there.id).await?;
                versions.push([name.to_owned(), version.to_owned(), state]);
            }
        }
        report.versions = Some(versions);
    }
    Ok(report)
}

impl fmt::Display for ListReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::new(["pipeline", "reads", "writes", "calls"]);
        self.pipelines.iter().cloned().for_each(|row| rows.add(row));
        rows.fmt(f)?;
        if let Some(versions) = &self.versions {
            let mut rows = Rows::new(["at Arroyo", "version", "state"]);
            versions.iter().cloned().for_each(|row| rows.add(row));
            write!(f, "\n{rows}")?;
        }
        Ok(())
    }
}
