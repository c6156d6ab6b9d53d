//! How Redis is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::Secret;

/// Where Redis is, and how long it is waited for.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://host:6379`, `rediss://` for TLS, `redis-cluster://host:port?node=host2:port2` and `rediss-cluster://` for
    /// cluster mode.
    pub url: String,
    /// Default: the URL's, else none.
    pub username: Option<String>,
    /// Default: the URL's, else none.
    pub password: Option<Secret>,
    /// PEM certificates of the authority that signed the server's; default: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with, so that several installations can share a Redis. Default: `millrace`.
    pub prefix: String,
    /// Connections that commands share. Default: 4.
    pub connections: usize,
    /// How long one command may take. Default: 3 s.
    pub command_timeout: Duration,
    /// How long a connection may take to be made. Default: 3 s.
    pub connect_timeout: Duration,
    /// How long a command waits for a connection while there is none. Default: 500 ms.
    pub disconnected_patience: Duration,
}

impl RedisOptions {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: None,
            password: None,
            ca_file: None,
            prefix: "millrace".to_owned(),
            connections: 4,
            command_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            disconnected_patience: Duration::from_millis(500),
        }
    }

    /// The URL without what may be a password.
    pub(super) fn shown_url(&self) -> String {
        match (self.url.split_once("://"), self.url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
            (None, Some((_, place))) => format!("***@{place}"),
            (_, None) => self.url.clone(),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("url", &self.shown_url())
            .field("username", &self.username)
            .field("password", &self.password)
            .field("ca_file", &self.ca_file)
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("command_timeout", &self.command_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("disconnected_patience", &self.disconnected_patience)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let options = RedisOptions {
            password: Some(Secret::new("hush")),
            ..RedisOptions::new("rediss://default:hush@redis.example:6380/1")
        };
        let shown = format!("{options:?}");
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("rediss://***@redis.example:6380/1"), "{shown}");
    }
}
