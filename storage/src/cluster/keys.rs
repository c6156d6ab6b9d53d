//! Which keys of the configuration to look at when a service cannot be used.

/// What the keys of a section are about.
pub struct Keys {
    /// Whom the server's certificate is trusted from.
    pub ca_file: &'static str,
    /// Who logs in, and with what.
    pub login: &'static str,
    /// Where the service is, and how it is spoken to.
    pub place: &'static str,
}

/// Parts of what clients and servers say of a certificate that is not trusted.
const CERTIFICATE: [&str; 3] = ["certificate", "Certificate", "ssl.ca.location"];

/// The same of a login that is not known.
const LOGIN: [&str; 7] = [
    "WRONGPASS",
    "NOAUTH",
    "SASL authentication error",
    "Authentication failed",
    "password authentication failed",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
];

impl Keys {
    /// Those that a reason points at. Its text is all that clients give.
    pub fn for_reason(&self, reason: &str) -> &'static str {
        let has = |parts: &[&str]| parts.iter().any(|part| reason.contains(part));
        if has(&CERTIFICATE) {
            self.ca_file
        } else if has(&LOGIN) {
            self.login
        } else {
            self.place
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = Keys { ca_file: "x.ca_file", login: "x.password", place: "x.url" };

    #[test]
    fn a_reason_points_at_the_key_that_is_wrong() {
        let reasons = [
            (
                "error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified",
                "x.ca_file",
            ),
            ("invalid peer certificate: UnknownIssuer", "x.ca_file"),
            ("Custom { kind: InvalidData, error: InvalidCertificate(BadSignature) }", "x.ca_file"),
            (
                "SASL authentication error: Authentication failed due to invalid credentials with SCRAM-SHA-512",
                "x.password",
            ),
            ("WRONGPASS invalid username-password pair or user is disabled.", "x.password"),
            ("db error: FATAL: password authentication failed for user \"millrace\"", "x.password"),
            ("<Code>SignatureDoesNotMatch</Code>", "x.password"),
            ("Connect to ipv4#127.0.0.1:9092 failed: Connection refused", "x.url"),
        ];
        for (reason, key) in reasons {
            assert_eq!(KEYS.for_reason(reason), key, "{reason}");
        }
    }
}
