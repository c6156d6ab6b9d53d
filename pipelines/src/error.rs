//! Why a pipeline file is refused.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The text is not SQL.
    #[error("{pipeline}: {message}; mend the statement that begins on line {line}")]
    Syntax { pipeline: String, line: u64, message: String },
    /// SQL, but nothing that the local runner does.
    #[error("{pipeline} line {line}: the local runner does not run {construct}: {advice}")]
    Unsupported { pipeline: String, line: u64, construct: String, advice: &'static str },
    /// A name, a type or a count is wrong.
    #[error("{pipeline} line {line}: {message}")]
    Invalid { pipeline: String, line: u64, message: String },
    /// A file or folder of pipelines cannot be read.
    #[error("{path} cannot be read: {error}; check the path and its permissions")]
    Unreadable { path: PathBuf, error: std::io::Error },
}

/// Makes errors about one place of one pipeline.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) pipeline: &'a str,
    /// From 1.
    pub(crate) line: u64,
}

impl Place<'_> {
    /// The same pipeline at `line`, unless the parser did not note one.
    pub(crate) fn at(self, line: u64) -> Self {
        Self { line: if line == 0 { self.line } else { line }, ..self }
    }

    pub(crate) fn invalid(self, message: impl Into<String>) -> PipelineError {
        PipelineError::Invalid { pipeline: self.pipeline.to_owned(), line: self.line, message: message.into() }
    }

    pub(crate) fn unsupported(self, construct: impl Into<String>, advice: &'static str) -> PipelineError {
        let (pipeline, construct) = (self.pipeline.to_owned(), construct.into());
        PipelineError::Unsupported { pipeline, line: self.line, construct, advice }
    }

    pub(crate) fn syntax(self, message: impl ToString) -> PipelineError {
        PipelineError::Syntax { pipeline: self.pipeline.to_owned(), line: self.line, message: message.to_string() }
    }
}
