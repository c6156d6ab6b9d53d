//! The configuration: one struct, from a TOML file and `MILLRACE_…` variables, over defaults that need nothing.
//!
//! Order, the first that says something wins: command line, environment, file, default. `millrace.example.toml` shows
//! every key with its default; a test holds it against this struct. What a file says and nobody understands ([`keys`])
//! and numbers that nothing could work with ([`ranges`]) are refused, without a word of the secrets beside ([`refusal`]).

pub mod cluster;
mod http;
mod keys;
mod ranges;
mod refusal;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use confique::toml::FormatOptions;
use confique::{Config as _, File, FileFormat};
use serde::Deserialize;

/// Where everything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    Embedded,
    Cluster,
}

/// Everything that can be configured.
#[derive(Clone, Debug, confique::Config)]
pub struct Config {
    /// "embedded" keeps everything in the data directory of one process; "cluster" in the services that kafka, redis, s3
    /// and catalog name below, shared by as many processes as there are.
    #[config(env = "MILLRACE_STORAGE", default = "embedded")]
    pub storage: StorageKind,

    /// Where everything is kept: log, bodies, tables, search index, certificates. In a cluster each process has its own,
    /// with certificates and what it has fetched; it may be thrown away.
    #[config(env = "MILLRACE_DATA_DIR", default = "./millrace-data")]
    pub data_dir: PathBuf,

    /// Name of this process in a cluster: no two that run have the same, and each keeps its own over restarts. Without it,
    /// that of the host with the process's number, which is a new one each time.
    #[config(env = "MILLRACE_NODE_NAME")]
    pub node_name: Option<String>,

    /// Free bytes on the disk of the data directory below which no mail is taken (SMTP answers 452). What has been
    /// taken needs them to be screened, landed and merged. In a cluster, the brokers' and the stores' disks are theirs to
    /// watch.
    #[config(env = "MILLRACE_MIN_FREE_BYTES", default = 268435456)]
    pub min_free_bytes: u64,

    /// Mail from other servers.
    #[config(nested)]
    pub smtp: Smtp,

    /// JMAP, push, metrics.
    #[config(nested)]
    pub http: Http,

    /// The stage functions.
    #[config(nested)]
    pub screening: Screening,

    /// The stream processor that runs in this process.
    #[config(nested)]
    pub pipelines: Pipelines,

    /// Landing of changes and events in the tables.
    #[config(nested)]
    pub landing: Landing,

    /// The log.
    #[config(nested)]
    pub log: Log,

    /// The log of a cluster.
    #[config(nested)]
    pub kafka: cluster::Kafka,

    /// Recent mail, sessions and first-seen of a cluster.
    #[config(nested)]
    pub redis: cluster::Redis,

    /// Bodies, tables and search shards of a cluster.
    #[config(nested)]
    pub s3: cluster::S3,

    /// The Iceberg catalog of a cluster.
    #[config(nested)]
    pub catalog: cluster::Catalog,

    /// The stream processor of a cluster.
    #[config(nested)]
    pub arroyo: cluster::Arroyo,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Smtp {
    /// Address that mail from other servers comes in on.
    #[config(env = "MILLRACE_SMTP_LISTEN", default = "127.0.0.1:2525")]
    pub listen: SocketAddr,

    /// Our name in the greeting, in Received and in Authentication-Results.
    #[config(env = "MILLRACE_SMTP_SERVER_NAME", default = "mx.millrace.test")]
    pub server_name: String,

    /// Largest message, in bytes.
    #[config(env = "MILLRACE_SMTP_MAX_MESSAGE_BYTES", default = 52428800)]
    pub max_message_bytes: u64,

    /// Recipients in one transaction.
    #[config(env = "MILLRACE_SMTP_MAX_RECIPIENTS", default = 1000)]
    pub max_recipients: usize,

    /// Connections in all.
    #[config(env = "MILLRACE_SMTP_MAX_CONNECTIONS", default = 10000)]
    pub max_connections: usize,

    /// Connections from one address.
    #[config(env = "MILLRACE_SMTP_MAX_CONNECTIONS_PER_ADDRESS", default = 100)]
    pub max_connections_per_address: usize,

    /// Certificate chain for STARTTLS, in PEM. Without it one is made at the first start.
    #[config(env = "MILLRACE_SMTP_TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,

    /// Private key of the certificate, in PEM.
    #[config(env = "MILLRACE_SMTP_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Http {
    /// Address of JMAP, push, health and metrics.
    #[config(env = "MILLRACE_HTTP_LISTEN", default = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The URL that clients reach us under, for the links in the JMAP session. Without it the request's Host is used.
    #[config(env = "MILLRACE_HTTP_BASE_URL")]
    pub base_url: Option<String>,

    /// What seals bearer tokens and the ids of uploads, as 64 hexadecimal digits: the same for all processes that serve the
    /// API. Without it and without a file, one is made in the data directory. Better in a file or the variable.
    #[config(env = "MILLRACE_HTTP_UPLOAD_KEY")]
    pub upload_key: Option<cluster::Hidden>,

    /// File that holds the key, as 32 bytes.
    #[config(env = "MILLRACE_HTTP_UPLOAD_KEY_FILE")]
    pub upload_key_file: Option<PathBuf>,

    /// Who registers a schema must send this password, of 16 characters or more, as Confluent's clients and Arroyo do.
    /// Without it, whoever reaches this address may. Better in a file or the variable.
    #[config(env = "MILLRACE_HTTP_REGISTRY_PASSWORD")]
    pub registry_password: Option<cluster::Hidden>,

    /// File that holds the password.
    #[config(env = "MILLRACE_HTTP_REGISTRY_PASSWORD_FILE")]
    pub registry_password_file: Option<PathBuf>,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Screening {
    /// Who answers DNS questions: "system", "off", or the address of a resolver as 127.0.0.1:53.
    #[config(env = "MILLRACE_SCREENING_DNS", default = "system")]
    pub dns: String,

    /// Folder with more YARA rules (*.yar), read at the start.
    #[config(env = "MILLRACE_SCREENING_RULES_DIR")]
    pub rules_dir: Option<PathBuf>,

    /// How long the same bytes to the same recipient count as sent again, in days.
    #[config(env = "MILLRACE_SCREENING_FIRST_SEEN_DAYS", default = 7)]
    pub first_seen_days: u32,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Pipelines {
    /// Folder with SQL files to run instead of those built in.
    #[config(env = "MILLRACE_PIPELINES_DIR")]
    pub dir: Option<PathBuf>,

    /// Most records in a micro-batch.
    #[config(env = "MILLRACE_PIPELINES_BATCH_RECORDS", default = 256)]
    pub batch_records: usize,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Landing {
    /// Seconds between commits to a table.
    #[config(env = "MILLRACE_LANDING_INTERVAL_S", default = 30)]
    pub interval_s: u64,

    /// Rows that bring a commit forward.
    #[config(env = "MILLRACE_LANDING_MAX_ROWS", default = 50000)]
    pub max_rows: usize,
}

#[derive(Clone, Debug, confique::Config)]
pub struct Log {
    /// Partitions of each topic. Set before the first start; it cannot change afterwards.
    #[config(env = "MILLRACE_LOG_PARTITIONS", default = 4)]
    pub partitions: u32,

    /// Hours that records are kept after everyone has processed them.
    #[config(env = "MILLRACE_LOG_RETENTION_HOURS", default = 168)]
    pub retention_hours: u64,

    /// Bytes of a partition above which processed records go earlier. Embedded alone: on Kafka age decides.
    #[config(env = "MILLRACE_LOG_RETENTION_BYTES", default = 4294967296u64)]
    pub retention_bytes: u64,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the file is missing or has keys that are none, or a value is none of its kind or out of its range; the
    /// message names file and key.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        Self::read(file).context("the configuration cannot be used")
    }

    fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = Self::builder().env();
        if let Some(path) = path {
            let file = File::with_format(path, FileFormat::Toml).required();
            // Before the values: a key in the wrong place says more than the value that it seems to lack.
            let name = path.display().to_string();
            keys::check(&file, &name, &Self::META)?;
            let layer = file.load().map_err(|error| refusal::refusal(error, &name, &Self::META))?;
            builder = builder.preloaded(layer);
        }
        let mut config = builder.load()?;
        // What is passed on from outside may be empty, as Compose does.
        config.arroyo.url = config.arroyo.url.filter(|url| !url.is_empty());
        ranges::check(&config)?;
        Ok(config)
    }
}

/// The example file: every key with its default and its variable.
pub fn example() -> String {
    confique::toml::template::<Config>(FormatOptions::default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_example_file_shows_every_key() {
        let shown = include_str!("../millrace.example.toml");
        assert_eq!(shown, example(), "write it anew with `millrace config example > millrace.example.toml`");
    }

    fn refusal_of(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.toml");
        std::fs::write(&file, text).unwrap();
        let error = Config::load(Some(&file)).unwrap_err();
        format!("{error:#}").replace(&folder.path().display().to_string(), "")
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Some(Path::new("/nowhere/m.toml"))).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/m.toml"), "{error:#}");
    }

    #[test]
    fn keys_that_mean_nothing_are_refused_with_the_one_that_was_meant() {
        let refusal = refusal_of("partitions = 2\n[landing]\ninterval_s = 5\nintervall_s = 3\n[colours]\nred = 1\n");
        for part in [
            "/m.toml has keys",
            "landing.intervall_s (perhaps landing.interval_s is meant)",
            "colours",
            "log.partitions",
        ] {
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
        assert!(!refusal.contains("colours ("), "{refusal}");
    }

    #[test]
    fn values_of_another_kind_or_out_of_range_are_refused() {
        for (text, parts) in [
            ("[landing]\ninterval_s = 0\n", ["landing.interval_s", "is 0", "1 to 3600"]),
            ("[smtp]\nmax_message_bytes = 0\n", ["smtp.max_message_bytes", "is 0", "65536 to"]),
            ("[landing]\ninterval_s = \"soon\"\n", ["/m.toml", "interval_s", "soon"]),
            ("[landing]\ninterval_s = -1\n", ["/m.toml", "interval_s", "-1"]),
            ("landing = 3\n", ["/m.toml", "landing", "3"]),
            ("[smtp]\nlisten = \"here\"\n", ["/m.toml", "listen", "here"]),
            ("[smtp\n", ["/m.toml", "line 1", "[smtp"]),
        ] {
            let refusal = refusal_of(text);
            for part in parts {
                assert!(refusal.contains(part), "{text} misses {part}: {refusal}");
            }
        }
    }

    #[test]
    fn an_empty_address_of_arroyo_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.toml");
        std::fs::write(&file, "[arroyo]\nurl = \"\"\n").unwrap();
        assert_eq!(Config::load(Some(&file)).unwrap().arroyo.url, None);
    }

    #[test]
    fn the_example_file_with_every_key_said_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("every.conf");
        let example = example();
        let keys = example.lines().filter(|line| !line.ends_with(" ="));
        let said: Vec<_> =
            keys.map(|line| if line.contains(" = ") { line.trim_start_matches('#') } else { line }).collect();
        std::fs::write(&file, said.join("\n")).unwrap();
        let config = Config::load(Some(&file)).unwrap();
        assert_eq!((config.log.partitions, config.landing.interval_s), (4, 30));
    }
}
