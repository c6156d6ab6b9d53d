//! One connection to PostgreSQL, made again when it breaks. Statements of all tables share it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Parameter;
use super::options::{PostgresOptions, place};
use crate::backoff::Backoff;
use crate::tables::catalog::{CatalogError, tls};

/// Ours; the server's own, which is shorter, says more.
const TIMEOUT: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// A database that answers before its disk has a commit would forget rows that the log has let go of.
const SESSION: &str = "
SET statement_timeout = '10s';
SET default_transaction_isolation = 'read committed';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local');";

/// A statement that failed.
pub(super) struct Failure {
    pub(super) error: CatalogError,
    /// The connection is of no use any more; it may have broken after the statement was sent.
    pub(super) is_lost: bool,
    /// The statement may have been carried out, or be so yet.
    pub(super) is_unknown: bool,
    /// Another transaction went before.
    pub(super) is_conflict: bool,
}

pub(super) struct Connection {
    config: Config,
    tls: MakeRustlsConnect,
    place: String,
    held: Mutex<Held>,
}

struct Held {
    client: Option<Arc<Client>>,
    backoff: Backoff,
    /// After a failure, when to connect again; until then callers hear of the failure at once.
    next_try: Option<(Instant, String)>,
}

impl Connection {
    pub(super) fn new(options: PostgresOptions) -> Result<Self, CatalogError> {
        let config = options.config()?;
        let tls = MakeRustlsConnect::new(tls::client_config(options.ca_file.as_deref())?);
        let place = place(&config);
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        Ok(Self { config, tls, place, held: Mutex::new(Held { client: None, backoff, next_try: None }) })
    }

    pub(super) async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let client = self.client().await?;
        self.bounded(&client, client.query_typed(sql, parameters)).await
    }

    /// Returns how many rows the statement changed.
    pub(super) async fn execute(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        let client = self.client().await?;
        self.bounded(&client, client.execute_typed(sql, parameters)).await
    }

    /// Runs several statements.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Failure> {
        let client = self.client().await?;
        self.bounded(&client, client.batch_execute(sql)).await
    }

    async fn bounded<T>(
        &self,
        client: &Arc<Client>,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let failure = match tokio::time::timeout(TIMEOUT, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => self.failure(&error),
            Err(_) => {
                let reason = format!("no answer in {} s", TIMEOUT.as_secs());
                let error = self.unavailable(reason);
                Failure { error, is_lost: true, is_unknown: true, is_conflict: false }
            }
        };
        if failure.is_lost {
            self.forget(client).await;
        }
        Err(failure)
    }

    fn failure(&self, error: &Error) -> Failure {
        let Some(code) = error.code() else {
            let error = self.unavailable(describe(error));
            return Failure { error, is_lost: true, is_unknown: true, is_conflict: false };
        };
        let is_conflict = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code);
        // Connections that break (08), and ends of sessions and waits (57), which can come after the commit itself.
        let is_unknown = ["08", "57", "40003"].iter().any(|class| code.code().starts_with(class));
        // One that is a standby now does nothing for us any more.
        let is_lost = ["08", "57P", "25006"].iter().any(|class| code.code().starts_with(class));
        let reason = describe(error);
        let error = match is_unknown {
            true => self.unavailable(reason),
            false => CatalogError::Refused { at: self.place.clone(), reason },
        };
        Failure { error, is_lost, is_unknown, is_conflict }
    }

    fn unavailable(&self, reason: String) -> CatalogError {
        CatalogError::Unavailable { at: self.place.clone(), reason }
    }

    async fn forget(&self, client: &Arc<Client>) {
        let mut held = self.held.lock().await;
        if held.client.as_ref().is_some_and(|current| Arc::ptr_eq(current, client)) {
            held.client = None;
        }
    }

    /// The connection, made now if there is none.
    async fn client(&self) -> Result<Arc<Client>, Failure> {
        let mut held = self.held.lock().await;
        if let Some(client) = held.client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let unsent = |reason| {
            let error = self.unavailable(reason);
            Failure { error, is_lost: false, is_unknown: false, is_conflict: false }
        };
        if let Some((_, reason)) = held.next_try.as_ref().filter(|(at, _)| *at > Instant::now()) {
            return Err(unsent(reason.clone()));
        }
        let connected = tokio::time::timeout(TIMEOUT, self.connect()).await;
        match connected.unwrap_or_else(|_| Err("no answer while connecting".to_owned())) {
            Ok(client) => {
                held.next_try = None;
                Ok(held.client.insert(Arc::new(client)).clone())
            }
            Err(reason) => {
                held.client = None;
                held.next_try = Some((Instant::now() + held.backoff.pause(), reason.clone()));
                Err(unsent(reason))
            }
        }
    }

    async fn connect(&self) -> Result<Client, String> {
        let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(|error| describe(&error))?;
        let place = self.place.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(catalog = place, error = describe(&error), "the connection to the catalog broke");
            }
        });
        client.batch_execute(SESSION).await.map_err(|error| describe(&error))?;
        Ok(client)
    }
}

/// The error with its causes, which its own text leaves out.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
