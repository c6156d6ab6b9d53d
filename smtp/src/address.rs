//! Addresses: the Mailbox of RFC 5321 section 4.1.2, with UTF-8 as RFC 6531 section 3.3 allows it.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets in a local part (RFC 5321 section 4.5.3.1.1).
pub const MAX_LOCAL_PART_BYTES: usize = 64;
/// Octets in a domain (RFC 5321 section 4.5.3.1.2).
pub const MAX_DOMAIN_BYTES: usize = 255;
const MAX_LABEL_BYTES: usize = 63;

/// An address that follows the grammar: `local-part@domain`, kept as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    text: String,
    /// Where the `@` before the domain is.
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address has no @ and domain")]
    NoDomain,
    #[error("the local part is not a dot-string or a quoted string")]
    LocalPart,
    #[error("the local part is longer than 64 octets")]
    LocalPartTooLong,
    #[error("the domain is not a host name or an address literal")]
    Domain,
    #[error("the domain is longer than 255 octets")]
    DomainTooLong,
}

impl Address {
    /// Parses `local-part@domain`. Non-ASCII text is taken: whether it may be used depends on SMTPUTF8
    /// ([`Address::is_ascii`]).
    ///
    /// # Errors
    /// [`AddressError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = if text.starts_with('"') { quoted_string_end(text)? } else { text.find('@').unwrap_or(text.len()) };
        match text.as_bytes().get(at) {
            Some(b'@') => {}
            Some(_) => return Err(AddressError::LocalPart),
            None => return Err(AddressError::NoDomain),
        }
        let (local_part, domain) = (&text[..at], &text[at + 1..]);
        if local_part.len() > MAX_LOCAL_PART_BYTES {
            return Err(AddressError::LocalPartTooLong);
        }
        if !local_part.starts_with('"') && !is_dot_string(local_part) {
            return Err(AddressError::LocalPart);
        }
        check_domain(domain)?;
        Ok(Self { text: text.to_owned(), at })
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part without quotes and backslashes: `"john"@x` and `john@x` are the same mailbox.
    pub fn local_part(&self) -> Cow<'_, str> {
        let given = &self.text[..self.at];
        let Some(inner) = given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Cow::Borrowed(given);
        };
        let mut is_escaped = false;
        let keep = |c: &char| {
            is_escaped = *c == '\\' && !is_escaped;
            !is_escaped
        };
        Cow::Owned(inner.chars().filter(keep).collect())
    }

    /// The domain or address literal, in the case that was given.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// Where the quoted string at the start of `text` ends (Quoted-string of RFC 5321, UTF-8 within).
fn quoted_string_end(text: &str) -> Result<usize, AddressError> {
    let mut is_escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        if is_escaped {
            if !(' '..='~').contains(&c) {
                return Err(AddressError::LocalPart);
            }
            is_escaped = false;
        } else {
            match c {
                '\\' => is_escaped = true,
                '"' => return Ok(index + 1),
                ' '..='~' => {}
                c if is_utf8_text(c) => {}
                _ => return Err(AddressError::LocalPart),
            }
        }
    }
    Err(AddressError::LocalPart)
}

/// Dot-string: atoms with one dot between.
fn is_dot_string(text: &str) -> bool {
    let is_atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_text(c);
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// Non-ASCII text without the C1 controls and the line separators of Unicode.
fn is_utf8_text(c: char) -> bool {
    !c.is_ascii() && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}')
}

fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > MAX_DOMAIN_BYTES {
        return Err(AddressError::DomainTooLong);
    }
    if is_domain(domain) || is_address_literal(domain) { Ok(()) } else { Err(AddressError::Domain) }
}

/// Labels of letters, digits, hyphens and, since hosts in the wild have them, underscores.
pub(crate) fn is_domain(domain: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_utf8_text(c);
    domain.split('.').all(|label| {
        let is_framed_well = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && label.len() <= MAX_LABEL_BYTES && is_framed_well && label.chars().all(is_inner)
    })
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3).
pub(crate) fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_the_grammar_are_taken() {
        for text in [
            "a@b",
            "john.doe+tag@mail.example.com",
            "!#$%&'*+-/=?^_`{|}~@example.com",
            "\"john doe\"@example.com",
            "\"a\\\"b@c\"@example.com",
            "\"\"@example.com",
            "user@[192.0.2.1]",
            "user@[IPv6:2001:db8::1]",
            "user@my_host.example",
            "사용자@예시.테스트",
        ] {
            assert_eq!(Address::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn whatever_else_is_refused_with_the_part_that_is_wrong() {
        use AddressError::*;
        let long = "x".repeat(65);
        let label = "l".repeat(64);
        let long_domain = vec!["d".repeat(60); 5].join(".");
        for (text, error) in [
            ("", NoDomain),
            ("a", NoDomain),
            ("a@", Domain),
            ("@b", LocalPart),
            (".a@b", LocalPart),
            ("a..b@c", LocalPart),
            ("a.@c", LocalPart),
            ("a b@c", LocalPart),
            ("a<@c", LocalPart),
            ("\"a@c", LocalPart),
            ("\"a\"b@c", LocalPart),
            ("\"a\u{7}\"@c", LocalPart),
            ("a\u{85}@c", LocalPart),
            ("a@b..c", Domain),
            ("a@b.", Domain),
            ("a@-b", Domain),
            ("a@b@c", Domain),
            ("a@[192.0.2]", Domain),
            ("a@[IPv6:192.0.2.1]", Domain),
            ("a@[x:y]", Domain),
            (&format!("{long}@b"), LocalPartTooLong),
            (&format!("a@{label}"), Domain),
            (&format!("a@{long_domain}"), DomainTooLong),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn quotes_and_backslashes_are_not_part_of_the_local_part() {
        assert_eq!(Address::parse("\"john\"@x").unwrap().local_part(), "john");
        assert_eq!(Address::parse(r#""a\\\"b"@x"#).unwrap().local_part(), r#"a\"b"#);
        assert_eq!(Address::parse("a@X.Example").unwrap().domain(), "X.Example");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_the_text(text in "\\PC{0,80}|[a-z\"@.\\\\\\[\\]:]{0,30}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(address.as_str(), &text);
                prop_assert!(!address.domain().is_empty() && !address.as_str().contains(['\r', '\n', '\0']));
                let _ = address.local_part();
            }
        }
    }
}
