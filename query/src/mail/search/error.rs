//! What can go wrong with search, and what to do about it.

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The index is damaged, in use by another process, or the disk fails.
    #[error("the search index: {0}; {advice}", advice = advice(.0))]
    Index(#[from] tantivy::TantivyError),
    #[error("the folder of the search index: {0}")]
    Folder(#[from] std::io::Error),
    #[error("the search index has positions that cannot be read: {0}; `millrace rebuild search` makes it again")]
    Positions(String),
    #[error("a search task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Log(#[from] millrace_storage::LogError),
    #[error(transparent)]
    Blob(#[from] millrace_storage::BlobError),
    #[error(transparent)]
    Table(#[from] crate::tables::TableError),
    #[error("rows of a table cannot be read: {0}")]
    Rows(#[from] arrow::error::ArrowError),
    /// It does not answer, or refuses. Try again later.
    #[error("the object store of the search index: {0}; see that it can be reached")]
    Store(#[from] object_store::Error),
    /// What is there cannot be searched, or nothing is. Try again later.
    #[error("mail of partition {partition} cannot be searched now: {reason}")]
    Unavailable { partition: u32, reason: String },
    /// Nobody has made the shard yet. Try again later.
    #[error("{reason}; see that an indexer runs")]
    NotReady { partition: u32, reason: String },
    /// Another process owns the shard: nothing may be written.
    #[error("the search index of partition {partition} has another owner: {reason}")]
    Fenced { partition: u32, reason: String },
    /// An object that its manifest names is not there.
    #[error("the search index of partition {partition} has no object {object}")]
    Missing { partition: u32, object: String },
    #[error(
        "{object} of the search index of partition {partition} is damaged: {reason}; \
         `millrace rebuild search` makes the index again from the tables"
    )]
    Damaged { partition: u32, object: String, reason: String },
}

impl SearchError {
    /// The kind as metrics name it: what failed, and of tables how.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Index(_) => "index",
            Self::Folder(_) => "folder",
            Self::Positions(_) => "positions",
            Self::Task(_) => "task",
            Self::Log(_) => "log",
            Self::Blob(_) => "blob",
            Self::Table(error) => error.kind(),
            Self::Rows(_) => "rows",
            Self::Store(_) => "object_store",
            Self::Unavailable { .. } | Self::NotReady { .. } => "unavailable",
            Self::Fenced { .. } => "fenced",
            Self::Missing { .. } => "missing",
            Self::Damaged { .. } => "damaged",
        }
    }
}

/// What to do about an error of the index.
fn advice(error: &tantivy::TantivyError) -> &'static str {
    match error {
        tantivy::TantivyError::IoError(_) | tantivy::TantivyError::ErrorInThread(_) => {
            "see that its disk works and has room"
        }
        tantivy::TantivyError::LockFailure(..) => "see that no other process uses the data directory",
        _ => "`millrace rebuild search` makes it again from the tables",
    }
}
