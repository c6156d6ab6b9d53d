//! Mailboxes (RFC 8621 section 2): the fixed set of roles, with counts.
//!
//! - [`get`](mod@get), [`changes`](mod@changes): the mailboxes, and what changed of them
//! - [`query`](mod@query), [`filter`]: lists
//! - [`set`](mod@set): refused

mod changes;
mod filter;
mod get;
mod query;
mod set;

pub use changes::changes;
pub use get::get;
pub use query::{query, query_changes};
pub use set::set;

/// Role (which is the id too) and name of each mailbox, in the order that clients show.
pub const MAILBOXES: [(&str, &str); 6] = [
    ("inbox", "Inbox"),
    ("drafts", "Drafts"),
    ("sent", "Sent"),
    ("archive", "Archive"),
    ("junk", "Junk"),
    ("trash", "Trash"),
];

pub fn exists(id: &str) -> bool {
    MAILBOXES.iter().any(|(role, _)| *role == id)
}
