//! Where bytes are kept, and the only place that knows whether Millrace is embedded or in a cluster.
//!
//! Five seams, each a trait with a conformance suite ([`conformance`]) that every adapter passes unchanged:
//!
//! - [`log`]: partitioned, ordered, durable records; positions commit together with what was made of them
//! - [`blob`]: message bodies, in packs
//! - [`hot`]: changes that the tables do not have yet, and what changed last
//! - [`first_seen`]: who claimed a key first
//! - [`revocations`]: who has logged out
//!
//! [`embedded`] has the adapters that need nothing but a directory, [`cluster`] those over services that many processes
//! share; [`schemas`] lets a process know what others have written records with; [`testing`] is for tests elsewhere. Not here: what records mean (the crate
//! `schemas`), and tables (`query`).

pub mod blob;
pub mod cluster;
pub mod conformance;
pub mod embedded;
pub mod first_seen;
pub mod hot;
pub mod log;
pub mod packs;
pub mod revocations;
pub mod schemas;
mod secret;
mod storage;
pub mod testing;

pub use blob::{BlobError, BlobStore, BodyRef};
pub use first_seen::{Claim, FirstSeen};
pub use hot::{HotRow, HotStore, HotTail};
pub use log::{Consumer, Log, LogError, NewRecord, Position, Record};
pub use revocations::Revocations;
pub use secret::Secret;
pub use storage::Storage;
