//! The MIME structure of a stored message (RFC 2045, RFC 2046), found without copying it.
//!
//! - [`fields`]: header fields
//! - [`structure`]: the tree of parts; attached messages are leaves, as RFC 8621 section 4.1.4 wants it
//! - [`bodies`]: which parts are text, HTML and attachments
//! - [`decode`]: the octets and the text of a part
//!
//! Values of fields (addresses, dates, encoded words) are read by `mail-parser`.

pub mod bodies;
pub mod decode;
pub mod fields;
pub mod structure;
