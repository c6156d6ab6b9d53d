//! Who may send schemas.
//!
//! What is sent is kept for ever, and there is an end to what is taken. So a service that others than its operators can
//! reach has a password, which is asked for before anything else of the request is read.

use axum::http::HeaderMap;

use super::error::RegistryError;
use crate::auth::{Credentials, credentials};

/// Without a password everybody may.
#[derive(Default)]
pub(super) struct Guard(Option<blake3::Hash>);

impl Guard {
    pub(super) fn of(password: &str) -> Self {
        Self(Some(blake3::hash(password.as_bytes())))
    }

    /// The name does not matter: Confluent's clients and Arroyo's send one beside the password.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), RegistryError> {
        let Some(password) = &self.0 else { return Ok(()) };
        let given = match credentials(headers) {
            Some(Credentials::Basic { password, .. }) => password,
            Some(Credentials::Bearer(token)) => token,
            None => return Err(RegistryError::Unauthorized),
        };
        // Equality of hashes takes the same time wherever they differ.
        if blake3::hash(given.as_bytes()) == *password { Ok(()) } else { Err(RegistryError::Unauthorized) }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::AUTHORIZATION;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn admits(guard: &Guard, authorization: &str) -> bool {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())]);
        guard.admit(&headers).is_ok()
    }

    #[test]
    fn only_who_knows_the_password_is_admitted_where_there_is_one() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let guard = Guard::of("a long secret");
        assert!(admits(&guard, &basic("arroyo:a long secret")) && admits(&guard, &basic(":a long secret")));
        assert!(admits(&guard, "Bearer a long secret"));
        for other in [basic("a long secret:"), basic("arroyo:a long secre"), "Bearer".to_owned(), "Digest x".to_owned()]
        {
            assert!(!admits(&guard, &other), "{other}");
        }
        assert!(guard.admit(&HeaderMap::new()).is_err());
        assert!(Guard::default().admit(&HeaderMap::new()).is_ok());
    }
}
