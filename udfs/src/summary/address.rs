//! Address fields (RFC 5322 section 3.4), groups opened.

use mail_parser::{HeaderName, HeaderValue, Message};
use serde::{Deserialize, Serialize};

use crate::message::text::flatten;

const MAX_ADDRESSES: usize = 1000;
const MAX_NAME_CHARS: usize = 256;
/// RFC 5321 section 4.5.3.1: 64 of local part, `@`, 255 of domain.
const MAX_EMAIL_CHARS: usize = 320;

/// One address of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SummaryAddress {
    pub name: Option<String>,
    /// As written; not checked to be an address.
    pub email: String,
}

/// The addresses of the last field of that name (JMAP's choice, RFC 8621 section 4.1.2).
pub(super) fn list(message: &Message<'_>, name: HeaderName<'static>) -> Vec<SummaryAddress> {
    message.header(name).map(from_value).unwrap_or_default()
}

fn from_value(value: &HeaderValue<'_>) -> Vec<SummaryAddress> {
    let HeaderValue::Address(addresses) = value else { return Vec::new() };
    let entries = addresses.iter().take(MAX_ADDRESSES).filter_map(|entry| {
        let name = entry.name().map(|name| flatten(name, MAX_NAME_CHARS)).filter(|name| !name.is_empty());
        let email = entry.address().map(|email| flatten(email, MAX_EMAIL_CHARS)).unwrap_or_default();
        (name.is_some() || !email.is_empty()).then_some(SummaryAddress { name, email })
    });
    entries.collect()
}
