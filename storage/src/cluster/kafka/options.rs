//! How brokers are reached, and what all clients of theirs have in common.

use std::path::PathBuf;
use std::time::Duration;

use millrace_schemas::Topic;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::log::MAX_RECORD_BYTES;
use crate::secret::Secret;

/// A user at the brokers (SASL).
#[derive(Clone, Debug)]
pub struct SaslOptions {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    pub username: String,
    pub password: Secret,
}

#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// `host:port`, separated by commas; the others are learnt from these.
    pub brokers: String,
    /// Unique in the cluster and the same after a restart: then a transaction that a process left open is ended as soon as
    /// its successor starts, where others wait for [`TRANSACTION_TIMEOUT`].
    pub node_name: String,
    /// Whether this process will have the same name after a restart. Then it ends, as soon as it starts, what it left open.
    pub is_name_kept: bool,
    /// Of topics that are made now; compacted topics have one. Topics that exist keep their own.
    pub partitions: u32,
    /// Of topics that are made now. With three or more, a write needs one replica fewer than there are.
    pub replication_factor: u32,
    /// Age at which processed records go; `None` keeps them.
    pub retention_age: Option<Duration>,
    pub is_tls: bool,
    /// Certificates to trust (PEM) in place of the system's.
    pub ca_file: Option<PathBuf>,
    pub sasl: Option<SaslOptions>,
    /// How long a member of a group may be silent before its partitions go to others.
    pub session_timeout: Duration,
    /// Groups that must have processed what goes, by topic, also when the brokers have forgotten where they were: a group
    /// without members is forgotten after `offsets.retention.minutes`.
    pub needed_by: Vec<(Topic, String)>,
}

impl KafkaOptions {
    pub fn new(brokers: impl Into<String>, node_name: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            node_name: node_name.into(),
            is_name_kept: false,
            partitions: 4,
            replication_factor: 1,
            retention_age: Some(Duration::from_secs(7 * 24 * 3600)),
            is_tls: false,
            ca_file: None,
            sasl: None,
            session_timeout: Duration::from_secs(10),
            needed_by: Vec::new(),
        }
    }
}

/// How long an append is waited for before it counts as refused. It may be stored later, as after an answer lost on the
/// way.
pub(super) const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// After this the coordinator aborts a transaction whose process is silent: until then, nobody reads past it.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

/// What a batch of one record of the largest size takes.
pub const MAX_BATCH_BYTES: usize = MAX_RECORD_BYTES + 64 * 1024;

/// How long a question to the brokers may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl KafkaOptions {
    fn client(&self, what: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", format!("{}.{what}", self.node_name));
        let protocol = match (self.is_tls, &self.sasl) {
            (false, None) => "plaintext",
            (true, None) => "ssl",
            (false, Some(_)) => "sasl_plaintext",
            (true, Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(ca_file) = &self.ca_file {
            config.set("ssl.ca.location", ca_file.to_string_lossy());
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanism", &sasl.mechanism);
            config.set("sasl.username", &sasl.username).set("sasl.password", sasl.password.reveal());
        }
        config.set("socket.keepalive.enable", "true").set("topic.metadata.refresh.interval.ms", "60000");
        // A broker that comes back is found within seconds.
        config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "2000");
        config.set("log_level", "4");
        config
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.client("admin")
    }

    fn any_producer(&self, what: &str) -> ClientConfig {
        let mut config = self.client(what);
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", ms(APPEND_TIMEOUT)).set("compression.type", "lz4");
        config.set("message.max.bytes", MAX_BATCH_BYTES.to_string());
        config
    }

    /// For records that each stand alone.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.any_producer("append");
        // Those who append at the same moment share a request; 1 ms is less than a broker takes to answer.
        config.set("linger.ms", "1");
        // A record whose time ends while a request is under way may have been stored, and librdkafka then begins a new epoch,
        // in which those behind it that were stored as well are sent again. So none ends: whoever appends waits for so
        // long and no longer, and what nobody waits for is kept within bounds.
        config.set("message.timeout.ms", "0").set("queue.buffering.max.kbytes", "65536");
        config
    }

    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let mut config = self.any_producer("transaction");
        config.set("transactional.id", id).set("transaction.timeout.ms", ms(TRANSACTION_TIMEOUT)).set("linger.ms", "0");
        config
    }

    fn any_consumer(&self, what: &str, group: &str) -> ClientConfig {
        let mut config = self.client(what);
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
        config
    }

    /// Reads where it is told to and belongs to no group.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.any_consumer("read", "millrace.reader");
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "20");
        config.set("queued.max.messages.kbytes", "8192");
        config
    }

    /// Asks where a group is, and never joins it.
    pub(super) fn observer(&self, group: &str) -> ClientConfig {
        self.any_consumer("observe", group)
    }

    // No group.instance.id (KIP-345): librdkafka 2.12 fences itself off with it when a group's coordinator is lost.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.any_consumer("member", group);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", ms(self.session_timeout));
        config.set("heartbeat.interval.ms", ms((self.session_timeout / 4).min(Duration::from_secs(3))));
        config.set("max.poll.interval.ms", ms(self.session_timeout.max(Duration::from_secs(300))));
        config.set("queued.max.messages.kbytes", "16384").set("fetch.queue.backoff.ms", "10");
        config
    }
}

/// What librdkafka has to say, in our own log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Telling;

impl ClientContext for Telling {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tell_error(&error, reason);
    }
}

impl ConsumerContext for Telling {}

pub(super) fn tell(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, "kafka: {message}");
        }
        _ => tracing::debug!(facility, "kafka: {message}"),
    }
}

/// A broker that is away is told by each client and each connection: once a request fails, whoever made it says so.
pub(super) fn tell_error(error: &KafkaError, reason: &str) {
    metrics::counter!("millrace_kafka_client_errors_total", "kind" => kind(error)).increment(1);
    tracing::debug!(%error, reason, "kafka client");
}

/// The kind as metrics name it: what of librdkafka's many codes leads to different things to do.
fn kind(error: &KafkaError) -> &'static str {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::AllBrokersDown) => "all_brokers_down",
        Some(Code::BrokerTransportFailure) => "transport",
        Some(Code::Resolve) => "resolve",
        Some(Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut) => "timed_out",
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => "authentication",
        Some(Code::SSL) => "tls",
        Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => "fenced",
        _ => "other",
    }
}
