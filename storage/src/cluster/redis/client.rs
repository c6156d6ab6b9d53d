//! Connections to Redis, and scripts run over them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fred::clients::{Client, Pool, SubscriberClient};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::rustls::pki_types::CertificateDer;
use fred::rustls::pki_types::pem::PemObject;
use fred::rustls::{ClientConfig, RootCertStore, crypto};
use fred::types::config::{Config, ReconnectPolicy, TlsConfig, TlsConnector, TlsHostMapping};
use fred::types::scripts;
use fred::types::{Builder, ConnectHandle, Key, RespVersion, Value};

use super::RedisOptions;
use super::script::Script;
use crate::cluster::keys::Keys;

const FIRST_PAUSE_MS: u32 = 50;
const LONGEST_PAUSE_MS: u32 = 2_000;
/// How long a connection may have been made without having been noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Commands that may wait for a connection; more are refused at once.
const MAX_WAITING_COMMANDS: usize = 20_000;
/// How long a farewell may take.
pub(super) const QUIT_PATIENCE: Duration = Duration::from_secs(1);
/// Messages of watched channels that may wait to be taken.
const MESSAGE_CAPACITY: usize = 4_096;

const KEYS: Keys = Keys { ca_file: "redis.ca_file", login: "redis.username and redis.password", place: "redis.url" };

/// Why Redis cannot be used at a start.
#[derive(Debug, thiserror::Error)]
#[error("Redis at {url} cannot be used: {reason}; check {}", KEYS.for_reason(.reason))]
pub struct RedisError {
    pub url: String,
    pub reason: String,
}

/// A pool of connections; what the adapters on Redis share. Connects again by itself, for ever.
pub struct Redis {
    pool: Pool,
    builder: Builder,
    prefix: String,
    shown_url: String,
    disconnected_patience: Duration,
    connections: Vec<ConnectHandle>,
}

impl Redis {
    /// # Errors
    /// When the options do not make sense or Redis does not answer now.
    pub async fn connect(options: &RedisOptions) -> Result<Arc<Self>, RedisError> {
        let failed = |reason: String| RedisError { url: options.shown_url(), reason };
        let builder = builder(options).map_err(failed)?;
        let pool = builder.build_pool(options.connections.max(1)).map_err(|error| failed(error.to_string()))?;
        let connections = pool.connect_pool();
        // Made before the first wait, so that whatever ends this also ends the connections.
        let mut redis = Self {
            pool,
            builder,
            prefix: options.prefix.clone(),
            shown_url: options.shown_url(),
            disconnected_patience: options.disconnected_patience,
            connections,
        };
        let answered = tokio::time::timeout(options.connect_timeout * 2, Box::pin(redis.ping())).await;
        match answered {
            Ok(Ok(())) => Ok(Arc::new(redis)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it does not answer".to_owned())),
        }
    }

    async fn ping(&mut self) -> Result<(), Error> {
        for (client, connection) in self.pool.clients().iter().zip(&mut self.connections) {
            tokio::select! {
                connected = connected(client) => connected?,
                // Refused, which is told to those who listen in that moment alone.
                ended = connection => {
                    ended.map_err(|error| Error::new(ErrorKind::Canceled, error.to_string()))??;
                    return Err(Error::new(ErrorKind::Canceled, "the connection has ended"));
                }
            }
        }
        self.pool.ping::<Value>(None).await.map(|_| ())
    }

    pub(super) fn error(&self, reason: String) -> RedisError {
        RedisError { url: self.shown_url.clone(), reason }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A client for channels, with the same options, not yet connected.
    pub(super) fn subscriber(&self) -> Result<SubscriberClient, Error> {
        self.builder.build_subscriber_client()
    }

    /// A connected client. While there is none, callers wait a little and are then told so.
    pub(super) async fn client(&self) -> Result<&Client, Error> {
        let client = self.pool.next_connected();
        if !client.is_connected() {
            match tokio::time::timeout(self.disconnected_patience, connected(client)).await {
                Ok(connected) => connected?,
                Err(_) => return Err(Error::new(ErrorKind::IO, "there is no connection")),
            }
        }
        Ok(client)
    }

    /// Runs a script, which may happen twice when a connection breaks.
    pub(super) async fn run(&self, script: &Script, keys: &[Key], args: Vec<Value>) -> Result<Value, Error> {
        timed(script.name, Box::pin(self.evaluate(script.parsed(), keys, args))).await
    }

    async fn evaluate(&self, script: &scripts::Script, keys: &[Key], args: Vec<Value>) -> Result<Value, Error> {
        let client = self.client().await?;
        let known = client.evalsha::<Value, _, _, _>(script.sha1().clone(), keys.to_vec(), args.clone()).await;
        let outcome = match (known, script.lua()) {
            // A server that has restarted, or that a partition has moved to.
            (Err(error), Some(lua)) if error.details().starts_with("NOSCRIPT") => {
                client.eval(lua.clone(), keys.to_vec(), args).await
            }
            (outcome, _) => outcome,
        };
        if let Err(error) = &outcome
            && error.details().starts_with("READONLY")
        {
            // The server has become a replica behind our back; its name may lead to the new one.
            let client = client.clone();
            tokio::spawn(async move { client.force_reconnection().await });
        }
        outcome
    }
}

/// Returns once a client is connected. `wait_for_connect` looks before it listens, and would wait for ever when the
/// connection is made in between; so it looks again and again.
async fn connected(client: &Client) -> Result<(), Error> {
    loop {
        if let Ok(connected) = tokio::time::timeout(LOOK_AGAIN, client.wait_for_connect()).await {
            return connected;
        }
    }
}

/// Tells how long a command takes, and of what kind its error is.
pub(super) async fn timed<T>(command: &'static str, run: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let begun = Instant::now();
    let outcome = run.await;
    metrics::histogram!("millrace_redis_command_seconds", "command" => command).record(begun.elapsed());
    if let Err(error) = &outcome {
        let labels = [("command", command), ("kind", kind(error))];
        metrics::counter!("millrace_redis_errors_total", &labels).increment(1);
    }
    outcome
}

/// The kind as metrics name it: what a server says of itself, else what kept us from hearing it.
fn kind(error: &Error) -> &'static str {
    match (error.details().split(' ').next(), error.kind()) {
        (Some("OOM"), _) => "out_of_memory",
        (Some("READONLY"), _) => "read_only",
        (Some("LOADING"), _) => "loading",
        (Some("MISCONF"), _) => "not_persisted",
        (_, ErrorKind::IO | ErrorKind::Canceled) => "connection",
        (_, ErrorKind::Timeout) => "timed_out",
        (_, ErrorKind::Auth) => "authentication",
        (_, ErrorKind::Cluster | ErrorKind::Routing) => "cluster",
        (_, ErrorKind::Backpressure) => "too_many_waiting",
        _ => "other",
    }
}

/// The connections would stay open.
impl Drop for Redis {
    fn drop(&mut self) {
        let (pool, connections) = (self.pool.clone(), std::mem::take(&mut self.connections));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            // Without a server there is nobody to say goodbye to, and connecting would go on.
            let _ = tokio::time::timeout(QUIT_PATIENCE, pool.quit()).await;
            connections.iter().for_each(ConnectHandle::abort);
        });
    }
}

fn builder(options: &RedisOptions) -> Result<Builder, String> {
    let mut config = Config::from_url(&options.url).map_err(|error| error.to_string())?;
    config.version = RespVersion::RESP3;
    config.fail_fast = true;
    config.username = options.username.clone().or(config.username);
    config.password = options.password.as_ref().map(|password| password.reveal().to_owned()).or(config.password);
    if let Some(tls) = &mut config.tls {
        *tls = TlsConfig { connector: tls_connector(options.ca_file.as_deref())?, hostnames: TlsHostMapping::None };
    } else if options.ca_file.is_some() {
        return Err("a ca_file is set, but the url does not ask for TLS (rediss://)".to_owned());
    }
    let mut builder = Builder::from_config(config);
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = options.command_timeout;
        performance.broadcast_channel_capacity = MESSAGE_CAPACITY;
    });
    builder.with_connection_config(|connection| {
        connection.connection_timeout = options.connect_timeout;
        connection.internal_command_timeout = options.connect_timeout;
        connection.max_command_buffer_len = MAX_WAITING_COMMANDS;
        connection.reconnect_on_auth_error = true;
        // Else a server that froze, or a host that vanished, is noticed only when the system gives up on it.
        connection.unresponsive.max_timeout = Some(options.command_timeout * 2);
        connection.unresponsive.interval = options.command_timeout / 2;
        connection.tcp.nodelay = Some(true);
    });
    builder.set_policy(ReconnectPolicy::Exponential {
        attempts: 0,
        max_attempts: 0,
        min_delay: FIRST_PAUSE_MS,
        max_delay: LONGEST_PAUSE_MS,
        base: 2,
        jitter: FIRST_PAUSE_MS,
    });
    Ok(builder)
}

fn tls_connector(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let unreadable = |error| format!("{} cannot be read: {error}", file.display());
            for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
                let added = roots.add(certificate.map_err(unreadable)?);
                added.map_err(|error| format!("{} has a certificate that is none: {error}", file.display()))?;
            }
            if roots.is_empty() {
                return Err(format!("{} has no certificate", file.display()));
            }
        }
        None => {
            roots.add_parsable_certificates(fred::rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself_is_told_apart_from_a_lost_connection() {
        let told = [
            (ErrorKind::Unknown, "OOM command not allowed when used memory > 'maxmemory'.", "out_of_memory"),
            (ErrorKind::Unknown, "READONLY You can't write against a read only replica.", "read_only"),
            (ErrorKind::IO, "there is no connection", "connection"),
            (ErrorKind::Timeout, "Request timed out.", "timed_out"),
            (ErrorKind::Unknown, "ERR unknown command", "other"),
        ];
        for (fred_kind, details, expected) in told {
            assert_eq!(kind(&Error::new(fred_kind, details)), expected, "{details}");
        }
    }
}
