//! What a start would fail at, found out by trying: reach, rights, versions.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use millrace_query::tables::{SharedTables, Table, TableOptions, Tables};
use millrace_storage::cluster::{Redis, kafka, object_store, probe};

use super::{role, services};
use crate::config::{Config, StorageKind};

/// How long one service may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// A part of the configuration, and what came of trying it.
pub struct Finding {
    pub what: &'static str,
    pub outcome: anyhow::Result<Vec<String>>,
}

/// Tries every part that the configuration names.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![
        Finding { what: "data_dir", outcome: data_dir(config) },
        Finding { what: "smtp", outcome: role::certificate(config).map(|_| vec!["certificate".to_owned()]) },
        Finding { what: "http", outcome: http(config) },
    ];
    if config.storage == StorageKind::Cluster {
        findings.push(Finding { what: "kafka", outcome: patiently(kafka(config)).await });
        findings.push(Finding { what: "redis", outcome: patiently(redis(config)).await });
        let s3 = patiently(s3(config)).await;
        let catalog = match &s3 {
            Ok(_) => patiently(catalog(config)).await,
            Err(_) => Err(anyhow::anyhow!("it was not tried, since the tables that it names are in s3")),
        };
        findings.push(Finding { what: "s3", outcome: s3 });
        findings.push(Finding { what: "catalog", outcome: catalog });
    }
    findings
}

async fn patiently(check: impl Future<Output = anyhow::Result<Vec<String>>>) -> anyhow::Result<Vec<String>> {
    let tried = tokio::time::timeout(PATIENCE, check).await;
    tried.unwrap_or_else(|_| anyhow::bail!("it has not answered for {} s", PATIENCE.as_secs()))
}

fn data_dir(config: &Config) -> anyhow::Result<Vec<String>> {
    let dir = &config.data_dir;
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let file = dir.join(".check");
    let tried = fs::write(&file, b"check").and_then(|()| fs::remove_file(&file));
    tried.with_context(|| format!("{} cannot be written", dir.display()))?;
    Ok(vec![format!("{} can be written", dir.display())])
}

fn http(config: &Config) -> anyhow::Result<Vec<String>> {
    role::upload_key(config)?;
    let is_shared = config.storage == StorageKind::Embedded || config.http.upload_key_file.is_some();
    let key =
        if is_shared { "key" } else { "key of this process alone: no other takes its tokens (http.upload_key_file)" };
    let registers = match config.http.registry_password()? {
        Some(_) => "schemas are registered by password",
        None => "whoever reaches it registers schemas (http.registry_password)",
    };
    Ok(vec![key.to_owned(), registers.to_owned()])
}

async fn kafka(config: &Config) -> anyhow::Result<Vec<String>> {
    Ok(kafka::probe(services::kafka_options(config)?).await?)
}

async fn redis(config: &Config) -> anyhow::Result<Vec<String>> {
    Ok(Redis::connect(&services::redis_options(config)?).await?.probe().await?)
}

async fn s3(config: &Config) -> anyhow::Result<Vec<String>> {
    let options = services::s3_options(config)?;
    Ok(probe::bucket(&object_store::build(&options)?, &options).await?)
}

/// Opening makes the tables that do not exist, as any start does: that needs every right there is to need.
async fn catalog(config: &Config) -> anyhow::Result<Vec<String>> {
    let s3 = services::s3_options(config)?;
    let store = object_store::build(&s3)?;
    let shared =
        SharedTables { catalog: services::catalog_options(config)?, store, warehouse: services::warehouse(&s3) };
    let tables = Tables::open_shared(shared, TableOptions::default()).await?;
    let count = |table| format!("{table} has {} rows", tables.snapshot(table).rows());
    Ok(Table::ALL.map(count).to_vec())
}
