//! `Core/echo` (RFC 8620 section 4).

use serde_json::{Map, Value};

/// Gives back what it got.
pub fn echo(arguments: Map<String, Value>) -> Map<String, Value> {
    arguments
}
