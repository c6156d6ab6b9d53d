//! What a node stands on: a data directory of its own, or services that it shares with a cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use millrace_query::mail::{Search, SearchOptions, SharedOptions};
use millrace_query::tables::{CatalogOptions, SharedTables, TableOptions, Tables};
use millrace_schemas::Topic;
use millrace_storage::Storage;
use millrace_storage::cluster::{
    KafkaLog, KafkaOptions, Redis, RedisFirstSeen, RedisFirstSeenOptions, RedisHot, RedisHotOptions, RedisOptions,
    RedisRevocations, S3Options, S3PackOptions, S3Packs, SaslOptions, object_store,
};
use millrace_storage::embedded::{EmbeddedStorage, StorageOptions};

use super::groups::Group;
use crate::config::cluster::{needed, secret};
use crate::config::{Config, StorageKind};

pub struct Services {
    pub storage: Storage,
    pub tables: Arc<Tables>,
    pub search: Arc<Search>,
}

/// Opens what the configuration names. What `groups` have not processed stays in the log.
///
/// # Errors
/// Which service cannot be used, and which key says where it is.
pub async fn open(config: &Config, groups: &[Group]) -> anyhow::Result<Services> {
    match config.storage {
        StorageKind::Embedded => embedded(config).await,
        StorageKind::Cluster => cluster(config, groups).await,
    }
}

async fn embedded(config: &Config) -> anyhow::Result<Services> {
    let storage = EmbeddedStorage::open(&config.data_dir, storage_options(config))?.into();
    let tables = Tables::open(&config.data_dir, TableOptions::default()).await?;
    let search = Search::open(&config.data_dir.join("search"), SearchOptions::default()).await?;
    Ok(Services { storage, tables, search })
}

async fn cluster(config: &Config, groups: &[Group]) -> anyhow::Result<Services> {
    let s3 = s3_options(config)?;
    let store = object_store::build(&s3)?;
    let redis = Redis::connect(&redis_options(config)?).await?;
    let needed_by = groups.iter().map(|(group, topic)| (*topic, group.clone())).collect();
    let log = KafkaLog::open(KafkaOptions { needed_by, ..kafka_options(config)? }).await.context("kafka.brokers")?;
    let blobs = S3Packs::open(store.clone(), &s3, S3PackOptions::default()).await?;
    let hot = RedisHot::open(redis.clone(), RedisHotOptions::default()).await?;
    let revocations = RedisRevocations::new(redis.clone());
    let first_seen =
        RedisFirstSeen::new(redis, &RedisFirstSeenOptions { window: first_seen_window(config), ..Default::default() });
    let storage = Storage::shared(Arc::new(log), Arc::new(blobs), Arc::new(hot), Arc::new(first_seen))
        .with_revocations(Arc::new(revocations));
    let partitions = storage.log.partitions(Topic::MailboxChanges);
    let (dir, prefix) = (config.data_dir.join("search"), within(&s3, "search"));
    let search = Search::open_shared(&dir, store.clone(), &prefix, partitions, SharedOptions::default()).await?;
    let shared = SharedTables { catalog: catalog_options(config)?, store, warehouse: warehouse(&s3) };
    let tables = Tables::open_shared(shared, TableOptions::default()).await.context("catalog.url")?;
    Ok(Services { storage, tables, search })
}

/// A name under the prefix.
fn within(s3: &S3Options, name: &str) -> String {
    let prefix = s3.prefix.trim_matches('/');
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// Where the tables are.
pub fn warehouse(s3: &S3Options) -> String {
    format!("s3://{}/{}", s3.bucket, within(s3, "warehouse"))
}

fn first_seen_window(config: &Config) -> Duration {
    Duration::from_secs(u64::from(config.screening.first_seen_days) * 24 * 3600)
}

/// The reserve on disk, the log's topics, retention and the window of first-seen, as configured.
fn storage_options(config: &Config) -> StorageOptions {
    let mut options = StorageOptions::default();
    options.log.min_free_bytes = config.min_free_bytes;
    options.packs.min_free_bytes = config.min_free_bytes;
    for topic in Topic::ALL.into_iter().filter(|topic| !topic.is_compacted()) {
        let topic = options.log.topic_mut(topic);
        topic.partitions = config.log.partitions;
        topic.retention_age = Some(Duration::from_secs(config.log.retention_hours * 3600));
        topic.retention_bytes = Some(config.log.retention_bytes);
    }
    options.first_seen.window = first_seen_window(config);
    options
}

/// # Errors
/// Which key is missing or wrong.
pub fn kafka_options(config: &Config) -> anyhow::Result<KafkaOptions> {
    let kafka = &config.kafka;
    let brokers = needed(kafka.brokers.as_deref(), "kafka.brokers")?;
    let password = secret(kafka.password.as_ref(), kafka.password_file.as_deref(), "kafka.password")?;
    let sasl = match (&kafka.sasl_mechanism, &kafka.username, password) {
        (Some(mechanism), Some(username), Some(password)) => {
            Some(SaslOptions { mechanism: mechanism.clone(), username: username.clone(), password })
        }
        (None, None, None) => None,
        _ => anyhow::bail!("kafka.sasl_mechanism, kafka.username and kafka.password go together: set all or none"),
    };
    Ok(KafkaOptions {
        partitions: config.log.partitions,
        replication_factor: kafka.replication_factor,
        retention_age: Some(Duration::from_secs(config.log.retention_hours * 3600)),
        is_tls: kafka.tls,
        ca_file: kafka.ca_file.clone(),
        sasl,
        is_name_kept: config.node_name.is_some(),
        session_timeout: Duration::from_secs(kafka.session_timeout_s),
        ..KafkaOptions::new(brokers, node_name(config))
    })
}

/// As configured, else one that no other process has.
fn node_name(config: &Config) -> String {
    config.node_name.clone().unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{}", host.trim(), std::process::id())
    })
}

/// # Errors
/// Which key is missing or wrong.
pub fn redis_options(config: &Config) -> anyhow::Result<RedisOptions> {
    let redis = &config.redis;
    Ok(RedisOptions {
        username: redis.username.clone(),
        password: secret(redis.password.as_ref(), redis.password_file.as_deref(), "redis.password")?,
        ca_file: redis.ca_file.clone(),
        ..RedisOptions::new(needed(redis.url.as_deref(), "redis.url")?)
    })
}

/// # Errors
/// Which key is missing or wrong.
pub fn s3_options(config: &Config) -> anyhow::Result<S3Options> {
    let s3 = &config.s3;
    Ok(S3Options {
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        prefix: s3.prefix.clone(),
        access_key: s3.access_key.clone(),
        secret_key: secret(s3.secret_key.as_ref(), s3.secret_key_file.as_deref(), "s3.secret_key")?,
        ca_file: s3.ca_file.clone(),
        ..S3Options::new(needed(s3.bucket.as_deref(), "s3.bucket")?)
    })
}

/// # Errors
/// Which key is missing or wrong.
pub fn catalog_options(config: &Config) -> anyhow::Result<CatalogOptions> {
    let catalog = &config.catalog;
    let url = needed(catalog.url.as_deref(), "catalog.url")?;
    let is_rest = url.starts_with("http");
    let found = if is_rest {
        secret(catalog.token.as_ref(), catalog.token_file.as_deref(), "catalog.token")?
    } else {
        secret(catalog.password.as_ref(), catalog.password_file.as_deref(), "catalog.password")?
    };
    Ok(CatalogOptions::of_url(url, found, catalog.ca_file.clone())?)
}
