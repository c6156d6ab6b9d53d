//! The pipelines that are built in, and those of a folder.

use std::path::Path;

use crate::error::PipelineError;
use crate::plan::Pipeline;

/// Name and SQL of the built-in pipelines, in flow order.
pub const BUILT_IN: [(&str, &str); 1] = [("10_reception", include_str!("../10_reception.sql"))];

/// Largest number of pipelines in a folder.
const MAX_PIPELINES: usize = 1_000;

/// The built-in pipelines.
///
/// # Errors
/// None that a test would not have found.
pub fn built_in() -> Result<Vec<Pipeline>, PipelineError> {
    BUILT_IN.into_iter().map(|(name, sql)| Pipeline::load(name, sql)).collect()
}

/// Those of a folder where one is configured, else those built in.
///
/// # Errors
/// As [`load_folder`].
pub fn configured(folder: Option<&Path>) -> Result<Vec<Pipeline>, PipelineError> {
    folder.map_or_else(built_in, load_folder)
}

/// The `*.sql` files of a folder, in the order of their names.
///
/// # Errors
/// [`PipelineError::Unreadable`], or the first refusal of a file.
pub fn load_folder(folder: &Path) -> Result<Vec<Pipeline>, PipelineError> {
    read_folder(folder)?.iter().map(|(name, sql)| Pipeline::load(name, sql)).collect()
}

/// Name and text of the `*.sql` files of a folder, in the order of their names.
///
/// # Errors
/// [`PipelineError::Unreadable`].
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, PipelineError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |error| PipelineError::Unreadable { path, error }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
        if files.len() > MAX_PIPELINES {
            let error = std::io::Error::other(format!("more than {MAX_PIPELINES} pipelines"));
            return Err(unreadable(folder)(error));
        }
    }
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let sql = std::fs::read_to_string(path).map_err(unreadable(path))?;
        Ok((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), sql))
    };
    files.iter().map(read).collect()
}
