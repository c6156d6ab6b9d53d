//! Writer schemas that others have registered, as far as moving records needs them.
//!
//! - [`topic`]: the topic `schemas`, read and appended to
//! - [`log`]: a log whose records come with their schemas known

pub mod log;
pub mod topic;

pub use log::SchemaAwareLog;
pub use topic::{RegisterError, SchemaTopic};
