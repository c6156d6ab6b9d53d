//! Emails (RFC 8621 section 4).
//!
//! - [`property`]: what can be asked of an email, and what it costs to know
//! - [`get`], [`metadata`], [`body`], [`header`]: the answers
//! - [`query`], [`filter`], [`evaluate`], [`sort`], [`query_changes`](mod@query_changes): lists
//! - [`changes`](mod@changes), [`set`](mod@set), [`patch`]: what changed, and changing it

mod body;
mod changes;
mod evaluate;
mod filter;
mod get;
mod header;
mod metadata;
mod patch;
mod property;
mod query;
mod query_changes;
mod set;
mod sort;

pub use changes::changes;
pub(crate) use filter::Filters;
pub use get::get;
pub use query::query;
pub use query_changes::query_changes;
pub use set::set;

pub(crate) use get::read_body;
