//! What a start would fail at, or a promise, found out by trying: reach, rights, versions, and what is there already.

use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, bail, ensure};
use millrace_pipelines::deploy::{self, ArroyoClient};
use millrace_query::tables::{SharedTables, Table, TableOptions, Tables};
use millrace_storage::cluster::{Redis, kafka, object_store, probe};
use millrace_storage::embedded::{EmbeddedStorage, StorageOptions};
use millrace_udfs::Stages;
use tokio::net::UnixStream;

use super::{groups, role, services};
use crate::admin::SOCKET;
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
        Finding { what: "listen", outcome: listen(config).await },
        Finding { what: "screening", outcome: screening(config) },
        Finding { what: "pipelines", outcome: pipelines(config) },
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
    if let Some(url) = &config.arroyo.url {
        findings.push(Finding { what: "arroyo", outcome: patiently(arroyo(config, url)).await });
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
    let is_shared = config.storage == StorageKind::Embedded || config.http.has_upload_key();
    let key = if is_shared {
        "key"
    } else {
        "key of this process alone: no other takes its tokens (http.upload_key, or http.upload_key_file)"
    };
    let registers = match config.http.registry_password()? {
        Some(_) => "schemas are registered by password",
        None => "whoever reaches it registers schemas (http.registry_password)",
    };
    Ok(vec![key.to_owned(), registers.to_owned()])
}

/// Both addresses at once, which are free again afterwards.
async fn listen(config: &Config) -> anyhow::Result<Vec<String>> {
    let is_running = UnixStream::connect(config.data_dir.join(SOCKET)).await.is_ok();
    let (mut held, mut found) = (Vec::new(), Vec::new());
    for (what, address) in [("smtp", config.smtp.listen), ("http", config.http.listen)] {
        match role::listen(what, address).await {
            Ok((listener, _)) => {
                held.push(listener);
                found.push(format!("{what} {address}"));
            }
            Err(error) if !is_in_use(&error) => return Err(error),
            Err(_) if is_running => {
                found.push(format!("{what} {address} is in use, and Millrace runs on this data directory"));
            }
            Err(_) => bail!(
                "{address} is in use; if that is Millrace itself, with another data directory, all is well, else choose \
                 another address with {what}.listen"
            ),
        }
    }
    Ok(found)
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// The stage functions, over a storage that is thrown away: the configured one may be in use.
fn screening(config: &Config) -> anyhow::Result<Vec<String>> {
    let directory = tempfile::tempdir().context("no temporary directory can be made")?;
    let storage = EmbeddedStorage::open(directory.path(), StorageOptions::default())?.into();
    let stages = Stages::new(role::stage_options(config, &storage)?)?;
    Ok(vec![format!("dns {}", config.screening.dns), format!("virus rules {}", stages.rules_version())])
}

fn pipelines(config: &Config) -> anyhow::Result<Vec<String>> {
    let (report, pipelines) = deploy::check(config.pipelines.dir.as_deref()).context("pipelines.dir")?;
    let wrong = report.checks.iter().filter_map(|check| {
        let reason = check.answer.as_ref().err()?;
        Some(format!("{}: {reason}", check.pipeline))
    });
    let wrong: Vec<_> = wrong.collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    groups::screening(&pipelines)?;
    Ok(pipelines.iter().map(|pipeline| pipeline.name().to_owned()).collect())
}

async fn arroyo(config: &Config, url: &str) -> anyhow::Result<Vec<String>> {
    ArroyoClient::new(url)?.ping().await?;
    let registry = match &config.arroyo.schema_registry_url {
        Some(_) => "the schema registry is named",
        None => "nothing can be deployed before arroyo.schema_registry_url is set",
    };
    Ok(vec!["it answers".to_owned(), registry.to_owned()])
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use confique::Config as _;
    use tempfile::TempDir;

    use super::*;

    /// What all defaults are, on ports that are free.
    fn config() -> (Config, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::builder().load().unwrap();
        config.data_dir = folder.path().join("data");
        config.smtp.listen.set_port(0);
        config.http.listen.set_port(0);
        config.screening.dns = "off".to_owned();
        (config, folder)
    }

    /// The parts that fail, with their reasons.
    async fn failures(config: &Config) -> Vec<(&'static str, String)> {
        let failed = |Finding { what, outcome }| Some((what, format!("{:#}", outcome.err()?)));
        check(config).await.into_iter().filter_map(failed).collect()
    }

    /// That one part fails, and says all of this.
    async fn assert_fails(config: &Config, part: &str, told: &[&str]) {
        let failures = failures(config).await;
        assert_eq!(failures.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [part], "{failures:?}");
        for told in told {
            assert!(failures[0].1.contains(told), "{told}: {failures:?}");
        }
    }

    fn write(folder: &Path, file: &str, text: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }

    #[tokio::test]
    async fn the_defaults_pass() {
        let (config, _folder) = config();
        assert_eq!(failures(&config).await, []);
    }

    #[tokio::test]
    async fn an_address_in_use_is_told_unless_it_is_ours() {
        let (mut config, _folder) = config();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        config.smtp.listen = other.local_addr().unwrap();
        assert_fails(&config, "listen", &["is in use", "smtp.listen", &config.smtp.listen.to_string()]).await;
        let _admin = UnixListener::bind(config.data_dir.join(SOCKET)).unwrap();
        assert_eq!(failures(&config).await, []);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_told() {
        let (mut config, _folder) = config();
        config.http.listen = "192.0.2.1:0".parse().unwrap();
        assert_fails(&config, "listen", &["http cannot listen on 192.0.2.1"]).await;
    }

    #[tokio::test]
    async fn screening_that_cannot_start_is_told() {
        let (mut config, folder) = config();
        config.screening.dns = "1.1.1.1".to_owned();
        assert_fails(&config, "screening", &["screening.dns is '1.1.1.1'"]).await;
        config.screening.dns = "off".to_owned();
        let rules = folder.path().join("rules");
        write(&rules, "own.yar", "rule own { condition: nonsense }");
        config.screening.rules_dir = Some(rules);
        assert_fails(&config, "screening", &["own.yar"]).await;
    }

    #[tokio::test]
    async fn pipelines_that_cannot_run_are_told() {
        let (mut config, folder) = config();
        let dir = folder.path().join("pipelines");
        config.pipelines.dir = Some(dir.clone());
        assert_fails(&config, "pipelines", &["pipelines.dir"]).await;
        fs::create_dir(&dir).unwrap();
        assert_fails(&config, "pipelines", &["no file of pipelines.dir reads mail.reception and writes mail.screened"])
            .await;
        let (_, screens) = millrace_pipelines::BUILT_IN[0];
        write(&dir, "05_own.sql", screens);
        assert_eq!(failures(&config).await, []);
        write(&dir, "06_other.sql", screens);
        assert_fails(&config, "pipelines", &["05_own and 06_other both screen"]).await;
        write(&dir, "10_wrong.sql", "SELECT");
        write(&dir, "20_wrong.sql", "SELECT");
        assert_fails(&config, "pipelines", &["10_wrong", "20_wrong"]).await;
    }

    #[tokio::test]
    async fn an_arroyo_that_does_not_answer_is_told() {
        let (mut config, _folder) = config();
        config.arroyo.url = Some("arroyo:5115".to_owned());
        assert_fails(&config, "arroyo", &["arroyo.url"]).await;
    }

    #[tokio::test]
    async fn an_upload_key_that_is_none_is_told_and_not_shown() {
        let (mut config, _folder) = config();
        config.http.upload_key = Some("hunter2".to_owned().into());
        assert_fails(&config, "http", &["MILLRACE_HTTP_UPLOAD_KEY"]).await;
        assert!(!failures(&config).await[0].1.contains("hunter2"));
    }
}
