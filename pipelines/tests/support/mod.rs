//! A pipeline run on a log of its own, as often interrupted as wanted, and what came out.
#![allow(dead_code, clippy::unwrap_used)]

pub mod inputs;
pub mod interrupt;
pub mod outputs;
pub mod scripted;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_pipelines::{Functions, Options, Pipeline, built_in, run};
use millrace_schemas::Topic;
use millrace_storage::embedded::{Clock, EmbeddedStorage, StorageOptions};
use millrace_storage::{Log, NewRecord};
use millrace_udfs::{Dns, StageOptions, Stages};
use tokio_util::sync::CancellationToken;

/// The clock of every log here: dead letters of records that cannot be decoded carry it.
pub const NOW_US: i64 = 1_793_000_000_000_000;

const PATIENCE: Duration = Duration::from_secs(60);

pub fn reception() -> Arc<Pipeline> {
    Arc::new(built_in().unwrap().into_iter().find(|pipeline| pipeline.name() == "10_reception").unwrap())
}

/// Opens a data directory; a runner that was aborted may hold it a little longer.
pub async fn open(folder: &Path, partitions: u32) -> EmbeddedStorage {
    let mut last = None;
    for _ in 0..500 {
        let mut options = StorageOptions::default();
        options.log.clock = Clock::new(|| NOW_US);
        for topic in Topic::ALL {
            options.log.topic_mut(topic).partitions = partitions;
        }
        match EmbeddedStorage::open(folder, options) {
            Ok(storage) => return storage,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}: {}", folder.display(), last.unwrap());
}

/// The real stage functions, which ask no DNS.
pub fn stages(storage: &EmbeddedStorage) -> Arc<dyn Functions> {
    let options = StageOptions {
        blobs: storage.blobs.clone(),
        first_seen: storage.first_seen.clone(),
        dns: Dns::Off,
        rules_dir: None,
    };
    Arc::new(Stages::new(options).unwrap())
}

pub async fn is_drained(log: &dyn Log, pipeline: &Pipeline) -> bool {
    for partition in 0..log.partitions(pipeline.source()) {
        let (first, end) = log.bounds(pipeline.source(), partition).await.unwrap();
        let committed = log.committed(pipeline.name(), pipeline.source(), partition).await.unwrap();
        if committed.unwrap_or(first) < end {
            return false;
        }
    }
    true
}

/// Runs until all of the source is processed, then shuts down in order.
pub async fn run_until_drained(
    pipeline: &Arc<Pipeline>,
    log: Arc<dyn Log>,
    functions: Arc<dyn Functions>,
    options: Options,
) {
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(pipeline.clone(), log.clone(), functions, options, shutdown.clone()));
    let drained = async {
        while !is_drained(log.as_ref(), pipeline).await {
            assert!(!running.is_finished(), "the runner ended early");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, drained).await.expect("the pipeline does not get to the end");
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, running).await.expect("the pipeline does not stop").unwrap().unwrap();
}

pub async fn append(log: &dyn Log, records: Vec<NewRecord>) {
    if !records.is_empty() {
        log.append(records).await.unwrap();
    }
}
