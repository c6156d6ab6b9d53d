//! Blob ids: they name a body only through the account that asks, so that no id leads to another account's mail.
//!
//! - `B<email id>`: the stored body of an email
//! - `P<part id>-<email id>`: one of its parts, decoded
//! - `U<sealed>`: an upload, of which the id tells all (`upload/key.rs`)

/// What a blob id names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobId {
    Email(String),
    Part { part_id: String, email_id: String },
    Upload(String),
}

impl BlobId {
    pub fn of_email(email_id: &str) -> String {
        format!("B{email_id}")
    }

    pub fn of_part(part_id: &str, email_id: &str) -> String {
        format!("P{part_id}-{email_id}")
    }

    pub fn of_upload(sealed: &str) -> String {
        format!("U{sealed}")
    }

    pub fn parse(id: &str) -> Option<Self> {
        if let Some(email_id) = id.strip_prefix('B') {
            return (!email_id.is_empty()).then(|| Self::Email(email_id.to_owned()));
        }
        if let Some(sealed) = id.strip_prefix('U') {
            return (!sealed.is_empty()).then(|| Self::Upload(sealed.to_owned()));
        }
        let (part_id, email_id) = id.strip_prefix('P')?.split_once('-')?;
        let is_number = !part_id.is_empty() && part_id.len() <= 6 && part_id.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && !email_id.is_empty())
            .then(|| Self::Part { part_id: part_id.to_owned(), email_id: email_id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_back() {
        let part = BlobId::Part { part_id: "12".into(), email_id: "01-a_b".into() };
        assert_eq!(BlobId::parse(&BlobId::of_part("12", "01-a_b")), Some(part));
        assert_eq!(BlobId::parse(&BlobId::of_email("01-a_b")), Some(BlobId::Email("01-a_b".into())));
        assert_eq!(BlobId::parse(&BlobId::of_upload("a-_9")), Some(BlobId::Upload("a-_9".into())));
        for bad in ["", "B", "U", "P", "P-", "P1-", "P1", "Px-e", "X1", "P1234567-e"] {
            assert_eq!(BlobId::parse(bad), None, "{bad}");
        }
    }
}
