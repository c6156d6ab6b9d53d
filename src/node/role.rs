//! What can run in a process, and how each part is started.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use millrace_query::mail::{EventLander, EventLanderOptions, Lander, LanderOptions};
use millrace_query::tables::Table;
use millrace_schemas::Topic;
use millrace_smtp::{Reception, ReceptionOptions, tls};
use millrace_storage::embedded::{EmbeddedStorage, StorageOptions};
use millrace_udfs::StageOptions;
use tokio::net::TcpListener;

use super::Node;
use super::recipients::LocalRecipients;
use crate::config::Config;

/// Name of the pipeline that screens receptions, which is its consumer group.
pub const RECEPTION_PIPELINE: &str = "10_reception";

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
            Role::Pipelines => pipelines(node).map(|()| None),
            Role::Lander => lander(node).map(|()| None),
            Role::Api => api(node).await.map(Some),
        }
    }
}

async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
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
    let recipients = LocalRecipients { directory: node.directory.clone(), mailboxes: node.mailboxes.clone() };
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
fn certificate(config: &Config) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    match (&config.smtp.tls_certificate, &config.smtp.tls_key) {
        (Some(certificate), Some(key)) => Ok(tls::load(certificate, key)?),
        (None, None) => Ok(tls::load_or_make(&config.data_dir.join("tls"), &config.smtp.server_name)?),
        _ => anyhow::bail!("smtp.tls_certificate and smtp.tls_key go together: set both or neither"),
    }
}

fn pipelines(node: &Arc<Node>) -> anyhow::Result<()> {
    let pipelines = match &node.config.pipelines.dir {
        Some(dir) => millrace_pipelines::load_folder(dir)?,
        None => millrace_pipelines::built_in()?,
    };
    let options =
        millrace_pipelines::Options { max_records: node.config.pipelines.batch_records, ..Default::default() };
    for pipeline in pipelines {
        let (log, stages) = (node.storage.log.clone(), node.stages.clone());
        let (options, shutdown) = (options.clone(), node.workers.clone());
        node.spawn("pipeline", async move {
            Ok(millrace_pipelines::run(Arc::new(pipeline), log, stages, options, shutdown).await?)
        });
    }
    Ok(())
}

fn lander(node: &Arc<Node>) -> anyhow::Result<()> {
    let landing = &node.config.landing;
    let interval = Duration::from_secs(landing.interval_s);
    let options = LanderOptions { interval, max_rows: landing.max_rows, ..Default::default() };
    let (log, hot, tables) = (node.storage.log.clone(), node.storage.hot.clone(), node.tables.clone());
    node.spawn("lander", {
        let (lander, shutdown) = (Lander::new(log.clone(), hot, tables.clone(), options), node.workers.clone());
        async move { Ok(lander.run(shutdown).await?) }
    });
    for table in [Table::Reception, Table::Screened, Table::Delivery, Table::DeadLetter] {
        let options = EventLanderOptions { interval, max_rows: landing.max_rows, ..Default::default() };
        let lander = EventLander::new(log.clone(), tables.clone(), table, options);
        let shutdown = node.workers.clone();
        node.spawn("event lander", async move { Ok(lander.run(shutdown).await?) });
    }
    Ok(())
}

/// The log's topics, retention and the window of first-seen, as configured.
pub fn storage_options(config: &Config) -> StorageOptions {
    let mut options = StorageOptions::default();
    for topic in Topic::ALL.into_iter().filter(|topic| !topic.is_compacted()) {
        let topic = options.log.topic_mut(topic);
        topic.partitions = config.log.partitions;
        topic.retention_age = Some(Duration::from_secs(config.log.retention_hours * 3600));
        topic.retention_bytes = Some(config.log.retention_bytes);
    }
    options.first_seen.window = Duration::from_secs(u64::from(config.screening.first_seen_days) * 24 * 3600);
    options
}

/// The stage functions over this node's storage.
pub fn stage_options(config: &Config, storage: &EmbeddedStorage) -> anyhow::Result<StageOptions> {
    let dns = config.screening.dns.parse().context("screening.dns")?;
    let mut options = StageOptions::new(storage.blobs.clone(), storage.first_seen.clone(), dns);
    options.rules_dir = config.screening.rules_dir.clone();
    Ok(options)
}
