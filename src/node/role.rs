//! What can run in a process, and how each part is started.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use millrace_api::{Api, Options, Registry, ServeOptions, UploadKey};
use millrace_pipelines::deploy::{self, ArroyoClient};
use millrace_query::mail::search::Indexer;
use millrace_query::mail::{EventLander, EventLanderOptions, Lander, LanderOptions, Search};
use millrace_query::tables::{Table, Tables};
use millrace_smtp::{Reception, ReceptionOptions, tls};
use millrace_storage::Storage;
use millrace_udfs::{Dns, StageOptions};
use tokio::net::TcpListener;
use tracing::warn;

use super::Node;
use super::background::Background;
use super::recipients::LocalRecipients;
use super::restartable::Restartable;
use super::{secret, status};
use crate::config::Config;

/// A part that can run by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Take mail from other servers
    Reception,
    /// Run the SQL pipelines
    Pipelines,
    /// Land changes and events in hot store, tables and search index
    Lander,
    /// Serve JMAP, push and metrics
    Api,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Reception, Role::Pipelines, Role::Lander, Role::Api];

    /// Starts the part, and gives the address when it listens on one.
    pub async fn start(self, node: &Arc<Node>) -> anyhow::Result<Option<(&'static str, SocketAddr)>> {
        match self {
            Role::Reception => reception(node).await.map(Some),
            Role::Pipelines => pipelines(node).await.map(|()| None),
            Role::Lander => lander(node).await.map(|()| None),
            Role::Api => api(node).await.map(Some),
        }
    }
}

/// As on the command line.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

pub async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("{what} cannot listen on {address}; choose another address with --{what}, or port 0 for a free one")
    })?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

async fn reception(node: &Arc<Node>) -> anyhow::Result<(&'static str, SocketAddr)> {
    let smtp = &node.config.smtp;
    let (listener, address) = listen("smtp", smtp.listen).await?;
    let mut options = ReceptionOptions::new(smtp.server_name.clone());
    options.max_message_bytes = usize::try_from(smtp.max_message_bytes)?;
    options.max_recipients = smtp.max_recipients;
    options.limits.max_connections = smtp.max_connections;
    options.limits.max_connections_per_address = smtp.max_connections_per_address;
    options.tls = Some(certificate(&node.config)?);
    let recipients = LocalRecipients {
        directory: node.directory.clone(),
        mailboxes: node.require(&[Role::Lander]).is_ok().then(|| node.mailboxes.clone()),
        server_name: smtp.server_name.clone(),
    };
    let (log, blobs) = (node.storage.log.clone(), node.storage.blobs.clone());
    let reception = Arc::new(Reception::new(log, blobs, Arc::new(recipients), options)?);
    let shutdown = node.edges.clone();
    node.spawn("reception", async move {
        millrace_smtp::serve(listener, reception, shutdown).await;
        Ok(())
    });
    Ok(("smtp", address))
}

/// The configured certificate, or one of our own making.
pub fn certificate(config: &Config) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    match (&config.smtp.tls_certificate, &config.smtp.tls_key) {
        (Some(certificate), Some(key)) => Ok(tls::load(certificate, key)?),
        (None, None) => Ok(tls::load_or_make(&config.data_dir.join("tls"), &config.smtp.server_name)?),
        _ => anyhow::bail!("smtp.tls_certificate and smtp.tls_key go together: set both or neither"),
    }
}

async fn pipelines(node: &Arc<Node>) -> anyhow::Result<()> {
    if let Some(url) = &node.config.arroyo.url {
        for pipeline in &node.pipelines {
            runs_only_here(url, pipeline.name()).await?;
        }
    }
    let options =
        millrace_pipelines::Options { max_records: node.config.pipelines.batch_records, ..Default::default() };
    for pipeline in &node.pipelines {
        let pipeline = Arc::new(pipeline.clone());
        let (log, stages) = (node.storage.log.clone(), node.stages.clone());
        let (options, shutdown) = (options.clone(), node.workers.clone());
        node.spawn_behind("pipeline", async move {
            Ok(millrace_pipelines::run(pipeline, log, stages, options, shutdown).await?)
        });
    }
    Ok(())
}

/// Refuses to run a pipeline that runs on Arroyo as well: every message would be screened twice. An Arroyo that does not
/// answer is taken for one that is not there, since mail that waits is worse than mail that is screened twice.
async fn runs_only_here(arroyo_url: &str, pipeline: &str) -> anyhow::Result<()> {
    let client = ArroyoClient::new(arroyo_url).context("arroyo.url")?;
    match deploy::running(&client, pipeline).await {
        Ok(running) if running.is_empty() => Ok(()),
        Ok(running) => anyhow::bail!(
            "{} runs on Arroyo at {arroyo_url}, and the role 'pipelines' would screen all mail a second time: start \
             without this role, or stop it in Arroyo's console, with a checkpoint, and start again",
            running.join(", ")
        ),
        Err(error) => {
            warn!(pipeline, %error, "whether Arroyo runs the pipeline is not known; it runs here now: see that it does not run there");
            Ok(())
        }
    }
}

async fn lander(node: &Arc<Node>) -> anyhow::Result<()> {
    node.lander.start().await;
    node.indexer.start().await;
    let (log, tables, landing) = (node.storage.log.clone(), node.tables.clone(), &node.config.landing);
    let interval = Duration::from_secs(landing.interval_s);
    for table in [Table::Reception, Table::Screened, Table::Delivery, Table::DeadLetter] {
        let options = EventLanderOptions { interval, max_rows: landing.max_rows, ..Default::default() };
        let lander = EventLander::new(log.clone(), tables.clone(), table, options);
        let shutdown = node.workers.clone();
        node.spawn_behind("event lander", async move { Ok(lander.run(shutdown).await?) });
    }
    Ok(())
}

/// The lander of `mailbox.changes`.
pub fn mail_lander(config: &Config, storage: &Storage, tables: &Arc<Tables>, background: &Background) -> Restartable {
    let interval = Duration::from_secs(config.landing.interval_s);
    let options = LanderOptions { interval, max_rows: config.landing.max_rows, ..Default::default() };
    let (log, hot, tables) = (storage.log.clone(), storage.hot.clone(), tables.clone());
    Restartable::new("the lander", background.handle().clone(), move |shutdown| {
        let lander = Lander::new(log.clone(), hot.clone(), tables.clone(), options);
        Box::pin(async move { Ok(lander.run(shutdown).await?) })
    })
}

/// The only writer of the search index.
pub fn indexer(storage: &Storage, tables: &Arc<Tables>, search: &Arc<Search>, background: &Background) -> Restartable {
    let (log, blobs) = (storage.log.clone(), storage.blobs.clone());
    let (tables, search) = (tables.clone(), search.clone());
    Restartable::new("the indexer", background.handle().clone(), move |shutdown| {
        let indexer = Indexer::new(search.clone(), log.clone(), blobs.clone(), tables.clone());
        Box::pin(async move { Ok(indexer.run(shutdown).await?) })
    })
}

async fn api(node: &Arc<Node>) -> anyhow::Result<(&'static str, SocketAddr)> {
    let http = &node.config.http;
    let (listener, address) = listen("http", http.listen).await?;
    let public_url = http.base_url.clone().unwrap_or_default();
    let options = Options { public_url, upload_key: upload_key(&node.config)?, ..Options::default() };
    let (mailboxes, blobs) = (node.mailboxes.clone(), node.storage.blobs.clone());
    let api = Api::new(mailboxes, blobs, node.directory.clone(), options, node.edges.clone())
        .with_revocations(node.storage.revocations.clone())
        .with_registry(registry(node)?)
        .with_status(status::status(node)?);
    let (router, shutdown) = (millrace_api::router(Arc::new(api)), node.edges.clone());
    node.spawn("api", async move {
        millrace_api::serve(listener, router, ServeOptions::default(), shutdown).await;
        Ok(())
    });
    Ok(("http", address))
}

/// What seals bearer tokens and the ids of uploads.
pub fn upload_key(config: &Config) -> anyhow::Result<UploadKey> {
    if let Some(key) = config.http.upload_key()? {
        return Ok(key.into());
    }
    let file = config.http.upload_key_file.clone().unwrap_or_else(|| config.data_dir.join("keys/upload.key"));
    Ok(secret::load_or_make(&file)?.into())
}

/// The schema registry, which asks for a password where there is one.
fn registry(node: &Node) -> anyhow::Result<Registry> {
    let registry = Registry::new(node.storage.schemas.clone());
    Ok(match node.config.http.registry_password()? {
        Some(password) => registry.with_password(password.reveal()),
        None => registry,
    })
}

/// The stage functions over this node's storage.
pub fn stage_options(config: &Config, storage: &Storage) -> anyhow::Result<StageOptions> {
    let dns = match config.screening.dns.as_str() {
        "system" => Dns::System,
        "off" => Dns::Off,
        address => Dns::Server(address.parse().with_context(|| {
            format!("screening.dns is '{address}'; make it system, off, or a resolver's address as 127.0.0.1:53")
        })?),
    };
    Ok(StageOptions {
        blobs: storage.blobs.clone(),
        first_seen: storage.first_seen.clone(),
        dns,
        rules_dir: config.screening.rules_dir.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// An Arroyo with one pipeline, whose job is in `state`.
    async fn arroyo(state: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut asked = [0; 1024];
                let length = connection.read(&mut asked).await.unwrap();
                let body = if String::from_utf8_lossy(&asked[..length]).contains("/jobs") {
                    format!(r#"{{"data":[{{"id":"j","state":"{state}"}}]}}"#)
                } else {
                    r#"{"data":[{"id":"p","name":"10_reception@0123456789ab","created_at":1}],"hasMore":false}"#
                        .to_owned()
                };
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                connection.write_all((head + &body).as_bytes()).await.unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn a_pipeline_that_runs_on_arroyo_is_not_run_here() {
        let refused = runs_only_here(&arroyo("Running").await, "10_reception").await.unwrap_err().to_string();
        assert!(refused.starts_with("10_reception@0123456789ab runs on Arroyo"), "{refused}");
        assert!(refused.contains("start without this role"), "{refused}");
        let url = arroyo("Stopped").await;
        runs_only_here(&url, "10_reception").await.unwrap();
        runs_only_here(&arroyo("Running").await, "20_other").await.unwrap();
        runs_only_here("http://127.0.0.1:1", "10_reception").await.unwrap();
        assert!(runs_only_here("127.0.0.1:5115", "10_reception").await.is_err());
    }
}
