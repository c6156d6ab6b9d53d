//! Addresses as the directory compares them: lower case, without the part after `+`.

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    #[error("'{0}' is not an address; write it as name@domain")]
    NoAddress(String),
    #[error("'{0}' is not a domain name; write it as example.org")]
    NoDomain(String),
}

/// Checks a domain name (RFC 5890 labels, UTF-8 allowed) and gives it in lower case.
///
/// # Errors
/// [`AddressError::NoDomain`].
pub fn normalise_domain(domain: &str) -> Result<String, AddressError> {
    let lower = domain.trim_end_matches('.').to_lowercase();
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    if lower.is_empty() || lower.len() > 253 || !lower.split('.').all(is_label) {
        return Err(AddressError::NoDomain(domain.to_owned()));
    }
    Ok(lower)
}

/// Checks an address of ours and gives it in lower case. The names we give out are dot-atoms (RFC 5321 section 4.1.2).
///
/// # Errors
/// [`AddressError`] that says what to write instead.
pub fn normalise(address: &str) -> Result<String, AddressError> {
    let bad = || AddressError::NoAddress(address.to_owned());
    let (local, domain) = address.rsplit_once('@').ok_or_else(bad)?;
    let is_atom =
        |atom: &str| !atom.is_empty() && atom.chars().all(|c| c.is_alphanumeric() || "!#$%&'*/=?^_`{|}~-+".contains(c));
    if local.len() > 64 || !local.split('.').all(is_atom) {
        return Err(bad());
    }
    Ok(format!("{}@{}", local.to_lowercase(), normalise_domain(domain)?))
}

/// `name+tag@domain` without the tag (RFC 5233), or `None` when there is none.
pub fn without_tag(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let (name, _) = local.split_once('+')?;
    (!name.is_empty()).then(|| format!("{name}@{domain}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_compare_in_lower_case() {
        assert_eq!(normalise("Alice.B@Example.ORG").unwrap(), "alice.b@example.org");
        assert_eq!(normalise("한국@예시.kr").unwrap(), "한국@예시.kr");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "alice", "@example.org", "a@", "a b@example.org", "a..b@example.org", "a@-x.org", "a@b..c"] {
            assert!(normalise(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_is_cut_off_once() {
        assert_eq!(without_tag("a+b+c@x.org").as_deref(), Some("a@x.org"));
        assert_eq!(without_tag("a@x.org"), None);
        assert_eq!(without_tag("+b@x.org"), None);
    }
}
