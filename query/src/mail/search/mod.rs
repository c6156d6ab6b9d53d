//! Text search over mail: a `tantivy` index, kept beside the tables and thrown away at will.
//!
//! One index takes all accounts of this process; every document names its account, and every query is bound to one.
//! The index's own commits carry the log positions they reach, so that a restart goes on without a lost document.
//!
//! - [`tokenizer`]: text to terms
//! - [`schema`]: fields of a document
//! - [`query`]: what people type to what the index answers
//! - [`index`]: the open index: searching, and what a writer does to it
//! - [`indexer`]: follows `mailbox.changes`
//! - [`rebuild`]: makes the index again from the tables
//! - [`turn`]: which of the two writes

mod index;
mod indexer;
mod query;
mod rebuild;
mod schema;
mod tokenizer;
mod turn;

pub use index::{Search, SearchError, SearchOptions};
pub use indexer::Indexer;
pub use query::TextQuery;
pub use rebuild::RebuildProgress;
