//! Threads (RFC 8621 section 3).

mod changes;
mod get;

pub use changes::changes;
pub use get::get;
