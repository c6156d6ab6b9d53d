//! `millrace pipelines list|check|deploy|lag`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use millrace_pipelines::deploy::{
    self, ArroyoClient, Connection, DeployOptions, Plan, Runner, Sasl, check, check_there, deploy, lag, list,
};
use millrace_pipelines::{Pipeline, configured};
use millrace_storage::cluster::KafkaLog;

use crate::admin::client::Client;
use crate::cli::Pipelines;
use crate::config::cluster::{CommitMode, needed};
use crate::config::{Config, StorageKind};
use crate::node::services;

pub async fn run(config: Config, command: Pipelines) -> anyhow::Result<()> {
    match command {
        Pipelines::List => {
            print!("{}", list(&pipelines(&config)?, client(&config)?.as_ref()).await?);
            Ok(())
        }
        Pipelines::Check => run_check(&config).await,
        Pipelines::Deploy { parallelism, rewind_s } => run_deploy(&config, parallelism, rewind_s).await,
        Pipelines::Lag => Box::pin(run_lag(config)).await,
    }
}

fn pipelines(config: &Config) -> anyhow::Result<Vec<Pipeline>> {
    configured(config.pipelines.dir.as_deref()).context("pipelines.dir")
}

/// Arroyo, where the configuration names one.
fn client(config: &Config) -> anyhow::Result<Option<ArroyoClient>> {
    Ok(config.arroyo.url.as_deref().map(ArroyoClient::new).transpose()?)
}

/// The files by themselves; where there is an Arroyo, also as it plans them.
async fn run_check(config: &Config) -> anyhow::Result<()> {
    let (report, pipelines) = check(config.pipelines.dir.as_deref())?;
    print!("{report}");
    let mut is_ok = report.is_ok();
    if let Some(client) = client(config)? {
        let report = check_there(&Plan::new(&pipelines, &options(config)?)?, &client).await?;
        print!("{report}");
        is_ok &= report.is_ok();
    }
    ensure!(is_ok, "some pipelines would not run");
    Ok(())
}

async fn run_deploy(config: &Config, parallelism: Option<u64>, rewind_s: Option<u64>) -> anyhow::Result<()> {
    let client = client(config)?.context("no Arroyo is named; set arroyo.url (MILLRACE_ARROYO_URL)")?;
    let mut options = options(config)?;
    options.parallelism = parallelism.unwrap_or(options.parallelism);
    options.rewind = rewind_s.map(Duration::from_secs);
    let log = KafkaLog::open(services::kafka_options(config)?).await.context("kafka.brokers")?;
    let report = deploy(&Plan::new(&pipelines(config)?, &options)?, &client, &log, &options).await?;
    print!("{report}");
    ensure!(report.is_complete(), "not all is deployed; repeat it when what is told above is mended");
    Ok(())
}

/// In a cluster from the brokers; else from the node that runs on the data directory.
async fn run_lag(config: Config) -> anyhow::Result<()> {
    let pipelines = pipelines(&config)?;
    let runner = if config.arroyo.url.is_some() { Runner::Arroyo } else { Runner::Local };
    if config.storage == StorageKind::Cluster {
        let log = KafkaLog::open(services::kafka_options(&config)?).await.context("kafka.brokers")?;
        print!("{}", lag(&log, &pipelines, runner).await?);
        return Ok(());
    }
    let client = Client::connect(config).await?;
    let told: anyhow::Result<String> = client.get("/pipelines/lag").await;
    client.close().await?;
    print!("{}", told?);
    Ok(())
}

/// How Arroyo's workers reach what they need, as this configuration does.
fn options(config: &Config) -> anyhow::Result<DeployOptions> {
    let kafka = &config.kafka;
    let sasl = kafka.sasl_mechanism.clone().zip(kafka.username.clone());
    let registry = needed(config.arroyo.schema_registry_url.as_deref(), "arroyo.schema_registry_url")?;
    let connection = Connection {
        brokers: needed(kafka.brokers.as_deref(), "kafka.brokers")?.to_owned(),
        schema_registry: registry.to_owned(),
        has_registry_password: config.http.has_registry_password(),
        is_tls: kafka.tls,
        ca_file: kafka.ca_file.clone(),
        sasl: sasl.map(|(mechanism, username)| Sasl { mechanism, username }),
        commit_mode: match config.arroyo.commit_mode {
            CommitMode::ExactlyOnce => deploy::CommitMode::ExactlyOnce,
            CommitMode::AtLeastOnce => deploy::CommitMode::AtLeastOnce,
        },
    };
    let mut options = DeployOptions::new(connection).with_patience(Duration::from_secs(config.arroyo.patience_s));
    options.variables.extend(variables(config));
    Ok(options)
}

/// Variables of the workers. Secrets stay out: Arroyo keeps what it is told in its database. A URL of Redis with a
/// password in it counts as one.
fn variables(config: &Config) -> BTreeMap<String, String> {
    let (s3, redis) = (&config.s3, &config.redis);
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let redis_url = redis.url.clone().filter(|url| !url.contains('@'));
    let said = [
        ("MILLRACE_STORAGE", Some("cluster".to_owned())),
        ("MILLRACE_S3_ENDPOINT", s3.endpoint.clone()),
        ("MILLRACE_S3_REGION", Some(s3.region.clone())),
        ("MILLRACE_S3_BUCKET", s3.bucket.clone()),
        ("MILLRACE_S3_PREFIX", Some(s3.prefix.clone()).filter(|prefix| !prefix.is_empty())),
        ("MILLRACE_S3_ACCESS_KEY", s3.access_key.clone()),
        ("MILLRACE_S3_SECRET_KEY_FILE", path(&s3.secret_key_file)),
        ("MILLRACE_S3_CA_FILE", path(&s3.ca_file)),
        ("MILLRACE_REDIS_URL", redis_url),
        ("MILLRACE_REDIS_USERNAME", redis.username.clone()),
        ("MILLRACE_REDIS_PASSWORD_FILE", path(&redis.password_file)),
        ("MILLRACE_REDIS_CA_FILE", path(&redis.ca_file)),
        ("MILLRACE_SCREENING_DNS", Some(config.screening.dns.clone())),
        ("MILLRACE_SCREENING_RULES_DIR", path(&config.screening.rules_dir)),
        ("MILLRACE_SCREENING_FIRST_SEEN_DAYS", Some(config.screening.first_seen_days.to_string())),
    ];
    said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
