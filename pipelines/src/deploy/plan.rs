//! What is to run on Arroyo, and its versions.

use super::fill::{calls, fill};
use super::functions::{ALL, Function};
use super::options::DeployOptions;
use crate::error::{PipelineError, Place};
use crate::plan::Pipeline;
use millrace_schemas::Topic;

/// Characters of a version: 48 bits tell the versions of one pipeline apart.
const VERSION_LEN: usize = 12;

/// Pipelines with all that a version of them depends on.
#[derive(Clone, Debug)]
pub struct Plan {
    pub pipelines: Vec<Planned>,
    /// Those that the pipelines call.
    pub functions: Vec<Function>,
}

/// A pipeline as it is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The file's name, and the consumer group.
    pub name: String,
    /// Over the filled-in SQL, the functions and how the job is run: what has the same version is the same.
    pub version: String,
    /// Filled in.
    pub sql: String,
    pub source: Topic,
    /// Those that it calls.
    pub functions: Vec<Function>,
}

impl Planned {
    /// What it is called at Arroyo.
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// Pipeline and version of a name at Arroyo, when it is one of ours.
pub(crate) fn split_name(full_name: &str) -> Option<(&str, &str)> {
    let (name, version) = full_name.split_once('@')?;
    let is_version = version.len() == VERSION_LEN && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_version.then_some((name, version))
}

impl Plan {
    /// Fills in and versions `pipelines`.
    ///
    /// # Errors
    /// An option cannot be written into a pipeline.
    pub fn new(pipelines: &[Pipeline], options: &DeployOptions) -> Result<Self, PipelineError> {
        let planned = pipelines.iter().map(|pipeline| planned(pipeline, options));
        let pipelines = planned.collect::<Result<Vec<_>, _>>()?;
        let is_called = |function: &Function| pipelines.iter().any(|planned| planned.functions.contains(function));
        let functions = ALL.into_iter().filter(is_called).collect();
        Ok(Self { pipelines, functions })
    }
}

fn planned(pipeline: &Pipeline, options: &DeployOptions) -> Result<Planned, PipelineError> {
    let name = pipeline.name().to_owned();
    let sql = fill(&name, pipeline.sql(), &options.connection)?;
    let functions = called(&name, &sql)?;
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(&sql);
    for function in &functions {
        add(&function.definition());
    }
    add(&options.parallelism.to_string());
    add(&options.checkpoint_interval.as_micros().to_string());
    for (variable, value) in &options.variables {
        add(variable);
        add(value);
    }
    let version = hasher.finalize().to_hex()[..VERSION_LEN].to_owned();
    Ok(Planned { name, version, sql, source: pipeline.source(), functions })
}

/// The stage functions that a text calls.
pub(crate) fn called(pipeline: &str, sql: &str) -> Result<Vec<Function>, PipelineError> {
    let calls = calls(Place { pipeline, line: 1 }, sql)?;
    Ok(ALL.into_iter().filter(|function| calls.iter().any(|call| call == function.name)).collect())
}
