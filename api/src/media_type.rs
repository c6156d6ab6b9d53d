//! Media types as clients give them (RFC 6838 section 4.2).

/// `type/subtype`, with parameters or without, in printable ASCII.
pub(crate) fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    text.len() <= 255
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_cannot_break_out_of_their_header() {
        for good in ["text/plain", "text/html; charset=utf-8", "application/vnd.x+json"] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in ["", "text", "text/", "/html", "a/b\r\nX: y", "가/나", "a b/c"] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }
}
