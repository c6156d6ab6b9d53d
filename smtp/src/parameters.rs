//! Parameters of MAIL: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531).

use crate::reply::{self, Reply};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// What the client says the message will be; a hint.
    pub size_bytes: Option<u64>,
    pub is_8bit: bool,
    pub is_smtputf8: bool,
}

impl MailParameters {
    /// Parses what follows the path of MAIL.
    ///
    /// # Errors
    /// The reply: 555 for parameters that we do not offer, 501 for wrong or doubled values.
    pub(crate) fn parse(text: &str) -> Result<Self, Reply> {
        let mut parameters = Self::default();
        let mut has_body = false;
        for parameter in text.split(' ').filter(|parameter| !parameter.is_empty()) {
            let (keyword, value) = match parameter.split_once('=') {
                Some((keyword, value)) => (keyword, Some(value)),
                None => (parameter, None),
            };
            if keyword.eq_ignore_ascii_case("SIZE") {
                let size = value.and_then(size).filter(|_| parameters.size_bytes.is_none());
                parameters.size_bytes = Some(size.ok_or(reply::BAD_ARGUMENTS)?);
            } else if keyword.eq_ignore_ascii_case("BODY") {
                parameters.is_8bit = is_8bit(value).filter(|_| !has_body).ok_or(reply::BODY_UNSUPPORTED)?;
                has_body = true;
            } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
                if value.is_some() || parameters.is_smtputf8 {
                    return Err(reply::BAD_ARGUMENTS);
                }
                parameters.is_smtputf8 = true;
            } else {
                return Err(reply::UNKNOWN_PARAMETER);
            }
        }
        Ok(parameters)
    }
}

/// Up to 20 digits; what does not fit is larger than any limit.
fn size(value: &str) -> Option<u64> {
    let is_number = (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse().unwrap_or(u64::MAX))
}

fn is_8bit(value: Option<&str>) -> Option<bool> {
    match value? {
        value if value.eq_ignore_ascii_case("8BITMIME") => Some(true),
        value if value.eq_ignore_ascii_case("7BIT") => Some(false),
        _ => None,
    }
}
