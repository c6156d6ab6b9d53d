//! JMAP (RFC 8620) and JMAP Mail (RFC 8621): from the bytes of a request to the response object.
//!
//! - [`request`], [`ijson`]: the request, parsed within bounds
//! - [`reference`]: arguments that refer to earlier results
//! - [`dispatch`]: runs the calls
//! - [`session`], [`core`], [`mailbox`], [`thread`], [`email`], [`search_snippet`]: the objects
//! - [`arguments`], [`paging`], [`state`]: what the standard methods share

pub mod arguments;
pub mod blob_id;
pub mod core;
pub mod dispatch;
pub mod email;
pub mod ijson;
pub mod mailbox;
pub mod paging;
pub mod reference;
pub mod request;
pub mod search_snippet;
pub mod session;
pub mod state;
pub mod thread;
