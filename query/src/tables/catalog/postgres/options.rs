//! How PostgreSQL is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use millrace_storage::Secret;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::tables::catalog::CatalogError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A database for the catalog.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgresql://user@host:port/database`. Without `sslmode`, TLS is required unless all hosts are this machine;
    /// certificates are always verified, so that `require` means what `verify-full` does elsewhere.
    pub url: String,
    /// Goes before one in `url`.
    pub password: Option<Secret>,
    /// PEM; the authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The URL may hold a password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// What tokio-postgres connects with.
    pub(super) fn config(&self) -> Result<Config, CatalogError> {
        // rustls verifies the certificate and the name whatever is asked for.
        let url = self.url.replace("sslmode=verify-full", "sslmode=require");
        let url = url.replace("sslmode=verify-ca", "sslmode=require");
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            CatalogError::Options(format!("the url is not one of PostgreSQL (postgresql://user@host/db): {reason}"))
        })?;
        if !url.contains("sslmode=") {
            let is_local = self.ca_file.is_none() && config.get_hosts().iter().all(is_this_machine);
            config.ssl_mode(if is_local { SslMode::Disable } else { SslMode::Require });
        }
        if let Some(password) = &self.password {
            config.password(password.reveal());
        }
        if config.get_application_name().is_none() {
            config.application_name("millrace");
        }
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(Duration::from_secs(15))
            .keepalives_idle(Duration::from_secs(30))
            // A standby would tell of tables as they were.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Ok(config)
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

/// The hosts and the database, for messages.
pub(super) fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgresql://{}/{database}", hosts.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(url: &str) -> PostgresOptions {
        PostgresOptions { url: url.to_owned(), password: Some(Secret::new("hidden")), ca_file: None }
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        let mode = |url: &str| options(url).config().unwrap().get_ssl_mode();
        assert_eq!(mode("postgresql://m@127.0.0.1/m"), SslMode::Disable);
        assert_eq!(mode("postgresql://m@localhost:5433/m"), SslMode::Disable);
        assert_eq!(mode("postgresql://m@db.example/m"), SslMode::Require);
        assert_eq!(mode("postgresql://m@localhost,db.example/m"), SslMode::Require);
        assert_eq!(mode("postgresql://m@db.example/m?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgresql://m@localhost/m?sslmode=verify-full"), SslMode::Require);
    }

    #[test]
    fn passwords_go_to_the_server_only() {
        let options = options("postgresql://m:other@127.0.0.1:7/m");
        let config = options.config().unwrap();
        assert_eq!(config.get_password(), Some(&b"hidden"[..]));
        let printed = format!("{options:?} {}", place(&config));
        assert!(!printed.contains("hidden") && !printed.contains("other"), "{printed}");
        assert!(printed.contains("postgresql://127.0.0.1:7/m"), "{printed}");
        let error = PostgresOptions { url: "postgresql://m:other@x/m?a=b".to_owned(), ..options }.config().unwrap_err();
        assert!(!error.to_string().contains("other"), "{error}");
    }
}
