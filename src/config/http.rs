//! What is behind the keys of `[http]`.

use anyhow::{Context, ensure};
use millrace_storage::Secret;

use super::Http;
use super::cluster::secret;
use super::ranges::variable;

/// Whoever reaches the registry may try as many as it answers.
const LEAST_CHARACTERS: usize = 16;

impl Http {
    /// What whoever registers a schema must send, if anything.
    ///
    /// # Errors
    /// When it is said twice, cannot be read, or could be guessed.
    pub fn registry_password(&self) -> anyhow::Result<Option<Secret>> {
        let key = "http.registry_password";
        let password = secret(self.registry_password.as_ref(), self.registry_password_file.as_deref(), key)?;
        let is_long = |password: &Secret| password.reveal().chars().count() >= LEAST_CHARACTERS;
        ensure!(
            password.as_ref().is_none_or(is_long),
            "{key} has fewer than {LEAST_CHARACTERS} characters, and could be guessed; make one with `openssl rand -hex 16`"
        );
        Ok(password)
    }

    /// The key that seals bearer tokens and the ids of uploads, where it is said rather than kept in a file.
    ///
    /// # Errors
    /// When there is a file besides, or it is no key.
    pub fn upload_key(&self) -> anyhow::Result<Option<[u8; 32]>> {
        let key = "http.upload_key";
        let Some(said) = &self.upload_key else { return Ok(None) };
        ensure!(self.upload_key_file.is_none(), "{key} and {key}_file go against each other: set one of them");
        // What is wrong with it would show some of it.
        let digits = blake3::Hash::from_hex(said.secret().reveal());
        let digits = digits.ok().with_context(|| {
            format!("{key} ({}) is not 64 hexadecimal digits; make one with `openssl rand -hex 32`", variable(key))
        })?;
        Ok(Some(digits.into()))
    }

    /// Whether all processes that have this configuration have the same key.
    pub fn has_upload_key(&self) -> bool {
        self.upload_key.is_some() || self.upload_key_file.is_some()
    }

    /// Whether there is one, be it not for this process to read.
    pub fn has_registry_password(&self) -> bool {
        self.registry_password.is_some() || self.registry_password_file.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::config::Config;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file)).unwrap()
    }

    #[test]
    fn a_password_that_could_be_guessed_is_refused() {
        let http = config("[http]\nregistry_password = \"0123456789abcde\"").http;
        assert!(http.registry_password().unwrap_err().to_string().contains("fewer than 16"));
        let http = config("[http]\nregistry_password = \"0123456789abcdef\"").http;
        assert_eq!(http.registry_password().unwrap().unwrap().reveal(), "0123456789abcdef");
        assert!(config("").http.registry_password().unwrap().is_none());
    }

    #[test]
    fn an_upload_key_is_said_in_digits_and_in_one_place() {
        let digits = "0f".repeat(32);
        let http = config(&format!("[http]\nupload_key = \"{digits}\"")).http;
        assert_eq!(http.upload_key().unwrap(), Some([15; 32]));
        assert!(http.has_upload_key() && !config("").http.has_upload_key());
        assert_eq!(config("").http.upload_key().unwrap(), None);
        let http = config(&format!("[http]\nupload_key = \"{digits}\"\nupload_key_file = \"f\"")).http;
        assert!(http.upload_key().unwrap_err().to_string().contains("http.upload_key_file"));
        for wrong in ["0f0f", &"xy".repeat(32)] {
            let http = config(&format!("[http]\nupload_key = \"{wrong}\"")).http;
            let error = http.upload_key().unwrap_err().to_string();
            assert!(error.contains("MILLRACE_HTTP_UPLOAD_KEY") && error.contains("openssl"), "{error}");
            assert!(!error.contains(wrong), "{error}");
        }
    }
}
