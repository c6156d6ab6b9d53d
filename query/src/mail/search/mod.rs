//! Text search over mail: `tantivy` indexes, kept beside the tables and thrown away at will.
//!
//! Every document names its account, and every query is bound to one. An index's own commits carry the log positions
//! they reach, so that whoever goes on loses and doubles no document. An embedded node has one index with the mail of all
//! accounts; a cluster has a shard for each partition, in the object store.
//!
//! - [`tokenizer`]: text to terms
//! - [`schema`]: fields of a document
//! - [`query`], [`collector`]: what people type to what an index answers
//! - [`index`]: an open index: searching, and what a writer does to it
//! - [`steps`], [`writing`]: records of `mailbox.changes` to an index
//! - [`indexer`]: follows `mailbox.changes`
//! - [`rebuild`]: makes an index again from the tables
//! - [`local`], [`turn`]: the one index of an embedded node, and who writes it
//! - [`shards`]: the shards of a cluster
//! - [`facade`]: either of them, as the rest of the program sees it

mod collector;
mod error;
mod facade;
mod index;
mod indexer;
mod local;
mod query;
mod rebuild;
mod schema;
mod shards;
mod steps;
mod tokenizer;
mod turn;
mod writing;

pub use error::SearchError;
pub use facade::{Search, SearchOptions};
pub use indexer::Indexer;
pub use query::TextQuery;
pub use rebuild::RebuildProgress;
pub use shards::SharedOptions;
