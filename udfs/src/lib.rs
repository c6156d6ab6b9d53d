//! The stage functions: what the pipelines' SQL calls on a message. Pure Rust without Arrow or DataFusion, so that
//! the same crate links into the local runner and builds into an Arroyo library.
//!
//! Every function is bounded in time and memory, gives the same for the same arguments and named versions (what
//! changes, DNS and first-seen, is recorded in the verdict), and never panics: an error is a value.
//!
//! - [`Stages`]: all of them, with what they need
//! - `body`: fetch_body; `summary`: summarise; `authenticate`; `virus`: scan_virus; `spam`: score_spam;
//!   `duplicate`: first_seen
//! - [`searchable_text`]: what the search index takes of a message
//! - [`hosted`]: the same in an Arroyo worker; `../arroyo/*.rs` are thin wrappers over it
//! - `message`: bounded parsing, charsets, text; `guard`: the last net
//!
//! Not here: which verdict leads where (that is SQL), and storage.

mod authenticate;
mod body;
mod duplicate;
mod guard;
pub mod hosted;
mod message;
mod search_text;
pub mod spam;
mod stages;
mod summary;
mod virus;

pub use authenticate::{AuthVerdict, Dns, DnsError, Lookup};
pub use search_text::{SearchText, searchable_text};
pub use spam::{ModelError, SpamVerdict};
pub use stages::{StageError, StageOptions, Stages};
pub use summary::{Summary, SummaryAddress, SummaryAttachment};
pub use virus::{RuleError, VirusVerdict};
