//! How topics are reached from Arroyo's workers, and how a job is run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use millrace_udfs::hosted::{AUTHENTICATION, DEFAULT_PATIENCE};

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
    /// How long nothing may move in an old version for it to count as finished: longer than any call of a function can
    /// take. A call that waits for a body moves nothing, and holds back all that came after it.
    pub quiet_time: Duration,
    /// How long an old version may take to stop.
    pub stop_timeout: Duration,
    /// Between looks at a job.
    pub poll_interval: Duration,
    /// When an old version has failed, where it stood is not known exactly: begin this much earlier, so that nothing is
    /// lost and some of it is doubled. Without it such a version is not replaced.
    pub rewind: Option<Duration>,
}

/// The variable that tells a stage function how long to wait for a store.
const PATIENCE: &str = "MILLRACE_SCREENING_PATIENCE_S";
/// For what comes between a call's end and its showing: a worker short of CPU, a watermark, a look at the rates.
const SLACK: Duration = Duration::from_secs(15);
/// For reading everything before the hold.
const READING: Duration = Duration::from_secs(60);

impl DeployOptions {
    /// With functions of their default patience.
    pub fn new(connection: Connection) -> Self {
        let options = Self {
            connection,
            parallelism: 1,
            checkpoint_interval: Duration::from_secs(2),
            variables: BTreeMap::new(),
            start_timeout: Duration::from_secs(300),
            settle_time: Duration::from_secs(5),
            drain_timeout: Duration::ZERO,
            quiet_time: Duration::ZERO,
            stop_timeout: Duration::from_secs(40),
            poll_interval: Duration::from_secs(1),
            rewind: None,
        };
        options.with_patience(DEFAULT_PATIENCE)
    }

    /// Tells the functions to wait `patience` for a body or a claim, and a handover to wait longer than that. It is at
    /// most [`LONGEST_CALL`].
    ///
    /// [`LONGEST_CALL`]: millrace_udfs::hosted::LONGEST_CALL
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.variables.insert(PATIENCE.to_owned(), patience.as_secs().to_string());
        self.quiet_time = patience.max(AUTHENTICATION) + SLACK;
        // A message may wait for its body, then for its checks, then for its claim, and only then is it quiet.
        self.drain_timeout = READING + patience * 2 + AUTHENTICATION + self.quiet_time;
        self
    }

    /// How long a hold lasts at most: longer than any handover that succeeds.
    pub(super) fn hold_lifetime(&self) -> Duration {
        self.drain_timeout + self.stop_timeout + SLACK
    }
}

#[cfg(test)]
mod tests {
    use millrace_udfs::hosted::LONGEST_CALL;

    use super::*;

    /// Kafka's `transaction.max.timeout.ms`, when the brokers are told nothing else.
    const LONGEST_TRANSACTION: Duration = Duration::from_secs(15 * 60);
    /// How far back Arroyo tells its rates.
    const RATES: Duration = Duration::from_secs(5 * 60);

    fn options(patience: Duration) -> DeployOptions {
        let connection = Connection {
            brokers: String::new(),
            schema_registry: String::new(),
            has_registry_password: false,
            is_tls: false,
            ca_file: None,
            sasl: None,
            commit_mode: CommitMode::ExactlyOnce,
        };
        DeployOptions::new(connection).with_patience(patience)
    }

    #[test]
    fn a_handover_waits_longer_than_any_call_and_no_longer_than_brokers_hold() {
        for patience in [Duration::from_secs(1), DEFAULT_PATIENCE, LONGEST_CALL] {
            let options = options(patience);
            assert_eq!(options.variables["MILLRACE_SCREENING_PATIENCE_S"], patience.as_secs().to_string());
            assert!(options.quiet_time > patience && options.quiet_time > AUTHENTICATION, "{patience:?}");
            assert!(options.quiet_time < RATES, "{patience:?}");
            assert!(options.drain_timeout > patience * 2 + AUTHENTICATION + options.quiet_time, "{patience:?}");
            assert!(options.hold_lifetime() > options.drain_timeout + options.stop_timeout, "{patience:?}");
            assert!(options.hold_lifetime() <= LONGEST_TRANSACTION, "{patience:?}: {:?}", options.hold_lifetime());
        }
    }
}
