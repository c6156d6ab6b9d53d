//! Pipelines: one SQL file each, in Arroyo's dialect, and the local runner that runs them in this process.
//!
//! The local runner is the embedded default and the test bench for the SQL. It is not a second stream processor:
//! what it cannot run it refuses by name and line, and scale is Arroyo's job. Not here: what the stage functions do
//! (`udfs`), what records mean (`schemas`), where they are kept (`storage`).
//!
//! In reading order:
//! - [`files`]: the pipelines that are built in, and those of a folder
//! - [`parse`]: a SQL file as one source, sinks, and stages (views and INSERTs) in order; [`table`]: `CREATE TABLE`
//! - [`check`]: what is refused, with the name of the construct and its line; [`expression`]: within a SELECT
//! - [`functions`]: the stage functions as the runner calls them; [`link`] makes them DataFusion's
//! - [`plan`]: [`Pipeline`], a file that was parsed, checked and planned
//! - [`program`]: the physical plans of a pipeline, kept, and how a batch goes through them
//! - [`slot`]: where a stage's result waits for the stages that read it
//! - [`batch`]: log records in, log records out; a record that cannot be processed is singled out
//! - [`run`]: the loop of poll, evaluate, commit
//! - [`error`]: why a file is refused
//! - [`deploy`]: the same files on Arroyo

mod batch;
mod check;
pub mod deploy;
mod error;
mod expression;
mod files;
mod functions;
mod link;
mod parse;
mod plan;
mod program;
mod run;
mod slot;
mod table;

pub use error::PipelineError;
pub use files::{BUILT_IN, built_in, configured, load_folder};
pub use functions::{Functions, Unavailable};
pub use plan::Pipeline;
pub use run::{Options, RunError, run};
