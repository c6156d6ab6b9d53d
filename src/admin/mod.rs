//! How commands reach a node: HTTP over a Unix socket in the data directory, which only its owner can open.
//!
//! Where no node runs, the command starts one for itself, without network listeners, and speaks to the same router in
//! process ([`client`]). So every command has one implementation, [`router`], and works while `up` runs.

pub mod client;
mod dead_letter;
mod directory;
mod error;
mod import;
mod lag;
mod progress;
mod rebuild;
mod router;
mod sql;

pub use router::{bind, router, serve};

/// File name of the socket, in the data directory.
pub const SOCKET: &str = "admin.sock";
