//! How topics are reached from Arroyo's workers, and how a job is run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How Arroyo's workers reach Kafka and the schema registry.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// As `http://host:port/schemas`.
    pub schema_registry: String,
    /// Whether the registry asks whoever registers a schema for a password. It is not here either: each process of Arroyo
    /// has it in [`Connection::REGISTRY_PASSWORD_VARIABLE`].
    pub has_registry_password: bool,
    pub is_tls: bool,
    /// Certificates to trust (PEM), as a path on the workers; default: those of their system.
    pub ca_file: Option<PathBuf>,
    pub sasl: Option<Sasl>,
    pub commit_mode: CommitMode,
}

impl Connection {
    pub const REGISTRY_PASSWORD_VARIABLE: &str = "MILLRACE_HTTP_REGISTRY_PASSWORD";
}

/// A user at the brokers. The password is not here: each worker has it in [`Sasl::PASSWORD_VARIABLE`], so that it stands
/// neither in a pipeline's text nor in Arroyo's database.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    pub username: String,
}

impl Sasl {
    pub const PASSWORD_VARIABLE: &str = "MILLRACE_KAFKA_PASSWORD";
}

/// When a job's records become visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitMode {
    /// With each checkpoint, all or none.
    #[default]
    ExactlyOnce,
    /// At once; those since the last checkpoint come twice after a crash.
    AtLeastOnce,
}

impl CommitMode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly_once",
            Self::AtLeastOnce => "at_least_once",
        }
    }
}

/// How jobs are run, and how long a deployment waits.
#[derive(Clone, Debug)]
pub struct DeployOptions {
    pub connection: Connection,
    /// Tasks of each operator. More than the source has partitions are idle.
    pub parallelism: u64,
    /// Between checkpoints, at least 1 s: with [`CommitMode::ExactlyOnce`] also how long a record waits to be seen.
    pub checkpoint_interval: Duration,
    /// Environment variables of the workers: where bodies and claims are, but no secrets, which would stand in Arroyo's
    /// database.
    pub variables: BTreeMap<String, String>,
    /// How long a job may take to run, its functions compiled before.
    pub start_timeout: Duration,
    /// How long a job must run without an error to count as started.
    pub settle_time: Duration,
    /// How long an old version may take to finish what it began. Its source is held meanwhile.
    pub drain_timeout: Duration,
    /// How long nothing may move in an old version for it to count as finished: longer than any call of a function takes
    /// while the stores answer.
    pub quiet_time: Duration,
    /// How long an old version may take to stop.
    pub stop_timeout: Duration,
    /// Between looks at a job.
    pub poll_interval: Duration,
    /// When an old version has failed, where it stood is not known exactly: begin this much earlier, so that nothing is
    /// lost and some of it is doubled. Without it such a version is not replaced.
    pub rewind: Option<Duration>,
}

impl DeployOptions {
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            parallelism: 1,
            checkpoint_interval: Duration::from_secs(2),
            variables: BTreeMap::new(),
            start_timeout: Duration::from_secs(300),
            settle_time: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(60),
            quiet_time: Duration::from_secs(15),
            stop_timeout: Duration::from_secs(40),
            poll_interval: Duration::from_secs(1),
            rewind: None,
        }
    }
}
