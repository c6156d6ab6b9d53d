//! The contracts of Millrace's topics: Avro schemas, their Rust types, keys and partitions, and the
//! Confluent framing that a record carries on the log.
//!
//! Not here: how records are stored or moved (`storage`), and what is made of them.
//!
//! - [`topic`]: the topics, their names and how a key finds its partition
//! - [`record`]: one Rust type per topic
//! - [`registry`]: every schema version ever used, with the id that it keeps for ever
//! - [`registrations`]: what others have registered, and who gets which id
//! - [`resolve`]: whether what a writer schema writes can be read as ours
//! - [`codec`]: one record to and from framed bytes
//! - [`arrow`]: many records at once, straight to and from an Arrow batch
//! - [`decode_changes`]: many records of `mailbox.changes` at once, as Rust values

#[cfg(feature = "arrow")]
pub mod arrow;
#[cfg(feature = "arrow")]
mod changes;
pub mod codec;
pub mod record;
pub mod registrations;
pub mod registry;
pub mod resolve;
pub mod topic;

#[cfg(feature = "arrow")]
pub use changes::decode_changes;
pub use codec::{CodecError, decode, encode};
pub use record::{
    AvroRecord, DeadLetter, Delivery, DirectoryEntry, MailboxChange, MailboxPatch, Reception, SchemaEntry, Screened,
};
pub use registrations::Registrations;
pub use topic::Topic;
