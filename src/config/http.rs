//! What is behind the keys of `[http]`.

use anyhow::ensure;
use millrace_storage::Secret;

use super::Http;
use super::cluster::secret;

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
}
