//! What a cluster shares: brokers, Redis, the object store, the catalog.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use millrace_storage::Secret;
use serde::Deserialize;

/// A secret as a configuration has it; no example and no log line shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
pub struct Hidden(Secret);

impl Hidden {
    /// What it hides.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl From<String> for Hidden {
    fn from(secret: String) -> Self {
        Self(Secret::new(secret))
    }
}

#[derive(Clone, Debug, confique::Config)]
pub struct Kafka {
    /// Brokers as host:port, separated by commas.
    #[config(env = "MILLRACE_KAFKA_BROKERS")]
    pub brokers: Option<String>,

    /// Replicas of topics that are made. With three, one broker may be away and mail is taken all the same.
    #[config(env = "MILLRACE_KAFKA_REPLICATION_FACTOR", default = 3)]
    pub replication_factor: u32,

    /// Seconds that a process may be silent before its partitions go to others.
    #[config(env = "MILLRACE_KAFKA_SESSION_TIMEOUT_S", default = 10)]
    pub session_timeout_s: u64,

    /// Whether the brokers are reached over TLS.
    #[config(env = "MILLRACE_KAFKA_TLS", default = false)]
    pub tls: bool,

    /// Certificates to trust (PEM) in place of the system's.
    #[config(env = "MILLRACE_KAFKA_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; without it nobody logs in.
    #[config(env = "MILLRACE_KAFKA_SASL_MECHANISM")]
    pub sasl_mechanism: Option<String>,

    /// Who logs in.
    #[config(env = "MILLRACE_KAFKA_USERNAME")]
    pub username: Option<String>,

    /// The password; better in a file or the variable.
    #[config(env = "MILLRACE_KAFKA_PASSWORD")]
    pub password: Option<Hidden>,

    /// File that holds the password.
    #[config(env = "MILLRACE_KAFKA_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Redis {
    /// redis://HOST:PORT, rediss:// over TLS, redis-cluster:// and rediss-cluster:// for a cluster.
    #[config(env = "MILLRACE_REDIS_URL")]
    pub url: Option<String>,

    /// Who logs in, where that is not the default user.
    #[config(env = "MILLRACE_REDIS_USERNAME")]
    pub username: Option<String>,

    /// The password; better in a file or the variable.
    #[config(env = "MILLRACE_REDIS_PASSWORD")]
    pub password: Option<Hidden>,

    /// File that holds the password.
    #[config(env = "MILLRACE_REDIS_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,

    /// Certificates to trust (PEM) in place of the system's.
    #[config(env = "MILLRACE_REDIS_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, confique::Config)]
pub struct S3 {
    /// Where the store is; without it, AWS.
    #[config(env = "MILLRACE_S3_ENDPOINT")]
    pub endpoint: Option<String>,

    /// Its region.
    #[config(env = "MILLRACE_S3_REGION", default = "us-east-1")]
    pub region: String,

    /// The bucket of bodies, tables and search shards.
    #[config(env = "MILLRACE_S3_BUCKET")]
    pub bucket: Option<String>,

    /// What the names of all objects begin with.
    #[config(env = "MILLRACE_S3_PREFIX", default = "")]
    pub prefix: String,

    /// The access key; without it, that of the machine's role.
    #[config(env = "MILLRACE_S3_ACCESS_KEY")]
    pub access_key: Option<String>,

    /// The secret key; better in a file or the variable.
    #[config(env = "MILLRACE_S3_SECRET_KEY")]
    pub secret_key: Option<Hidden>,

    /// File that holds the secret key.
    #[config(env = "MILLRACE_S3_SECRET_KEY_FILE")]
    pub secret_key_file: Option<PathBuf>,

    /// Certificates to trust (PEM) besides the system's.
    #[config(env = "MILLRACE_S3_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Catalog {
    /// postgresql://USER@HOST:PORT/DATABASE, or http:// or https:// of an Iceberg REST catalog.
    #[config(env = "MILLRACE_CATALOG_URL")]
    pub url: Option<String>,

    /// The password at PostgreSQL; better in a file or the variable.
    #[config(env = "MILLRACE_CATALOG_PASSWORD")]
    pub password: Option<Hidden>,

    /// File that holds the password.
    #[config(env = "MILLRACE_CATALOG_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,

    /// The bearer token at a REST catalog; better in a file or the variable.
    #[config(env = "MILLRACE_CATALOG_TOKEN")]
    pub token: Option<Hidden>,

    /// File that holds the token.
    #[config(env = "MILLRACE_CATALOG_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// Certificates to trust (PEM) in place of the system's.
    #[config(env = "MILLRACE_CATALOG_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Arroyo {
    /// Where Arroyo's API is, as http://HOST:5115.
    #[config(env = "MILLRACE_ARROYO_URL")]
    pub url: Option<String>,

    /// How Arroyo reaches the schema registry, which is this service's API: http://HOST:PORT/schemas.
    #[config(env = "MILLRACE_ARROYO_SCHEMA_REGISTRY_URL")]
    pub schema_registry_url: Option<String>,

    /// Seconds that a stage function waits for a body or a claim that is out of reach, before its message becomes a dead
    /// letter. A handover to a new version takes longer than that.
    #[config(env = "MILLRACE_ARROYO_PATIENCE_S", default = 45)]
    pub patience_s: u64,

    /// "exactly_once" shows records with each checkpoint, and loses those of a checkpoint whose commit a crash cuts off;
    /// "at_least_once" shows them at once, and loses none: what came since the last checkpoint is doubled after a crash.
    #[config(env = "MILLRACE_ARROYO_COMMIT_MODE", default = "exactly_once")]
    pub commit_mode: CommitMode,
}

/// When the records of a job on Arroyo are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitMode {
    ExactlyOnce,
    AtLeastOnce,
}

/// What must be said when storage is "cluster".
///
/// # Errors
/// Which key is missing, and its variable.
pub fn needed<'a, T: ?Sized>(value: Option<&'a T>, key: &str) -> anyhow::Result<&'a T> {
    value.with_context(|| format!("storage is \"cluster\", which needs {key} ({})", super::ranges::variable(key)))
}

/// A secret that is said itself or by the file that holds it; a line's end after it does not count.
///
/// # Errors
/// When both are said, or the file cannot be read.
pub fn secret(said: Option<&Hidden>, file: Option<&Path>, key: &str) -> anyhow::Result<Option<Secret>> {
    match (said, file) {
        (Some(_), Some(_)) => bail!("{key} and {key}_file go against each other: set one of them"),
        (Some(Hidden(secret)), None) => Ok(Some(secret.clone())),
        (None, Some(file)) => {
            let text = fs::read_to_string(file);
            let text = text.with_context(|| format!("{key}_file {} cannot be read", file.display()))?;
            Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_comes_from_one_place_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "hush\n").unwrap();
        let said = Hidden::from("hush".to_owned());
        for found in [secret(Some(&said), None, "k").unwrap(), secret(None, Some(&file), "k").unwrap()] {
            assert_eq!(found.unwrap().reveal(), "hush");
        }
        assert!(!format!("{said:?}").contains("hush"));
        assert!(secret(None, None, "k").unwrap().is_none());
        assert!(secret(Some(&said), Some(&file), "k").unwrap_err().to_string().contains("k_file"));
        let missing = secret(None, Some(Path::new("/nowhere")), "redis.password").unwrap_err();
        assert!(missing.to_string().contains("redis.password_file /nowhere"), "{missing}");
    }
}
