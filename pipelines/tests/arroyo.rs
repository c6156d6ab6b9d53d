//! The golden inputs through the pipelines on a real Arroyo give what the local runner gives. It needs all of a cluster:
//! Kafka, S3, Redis, this repository on Arroyo's machine (its variable MILLRACE_SOURCE), a schema registry that Arroyo
//! reaches, and workers that are told where bodies and claims are. Topics and groups are those of production, all that
//! the topics hold is compared, and the pipeline runs on at the end: each run needs a cluster and an Arroyo of its own, fresh.
//!
//! Variables: MILLRACE_ARROYO_URL, MILLRACE_ARROYO_SCHEMA_REGISTRY_URL (and MILLRACE_HTTP_REGISTRY_PASSWORD where it has one);
//! MILLRACE_TEST_KAFKA, MILLRACE_TEST_REDIS, MILLRACE_TEST_S3, MILLRACE_TEST_S3_KEY, MILLRACE_TEST_S3_SECRET, which Arroyo's
//! workers reach under the same addresses.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_pipelines::built_in;
use millrace_pipelines::deploy::{
    ArroyoClient, CommitMode, Connection, DeployOptions, LagReport, Plan, Runner, check_there, deploy, lag,
};
use millrace_schemas::Topic;
use millrace_storage::cluster::{KafkaLog, KafkaOptions, S3Options, S3PackOptions, S3Packs, object_store};
use millrace_storage::{BlobStore, Secret};
use serde_json::Value;
use support::inputs::{self, Input};
use support::outputs;

/// A cold compilation and a start, then seconds.
const PATIENCE: Duration = Duration::from_secs(300);
const BUCKET: &str = "millrace";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} says where a service is"))
}

fn options() -> DeployOptions {
    let connection = Connection {
        brokers: variable("MILLRACE_TEST_KAFKA"),
        schema_registry: variable("MILLRACE_ARROYO_SCHEMA_REGISTRY_URL"),
        has_registry_password: std::env::var_os("MILLRACE_HTTP_REGISTRY_PASSWORD").is_some(),
        is_tls: false,
        ca_file: None,
        sasl: None,
        commit_mode: CommitMode::ExactlyOnce,
    };
    let mut options = DeployOptions::new(connection);
    options.checkpoint_interval = Duration::from_secs(1);
    // A test's secrets, for a service of its own.
    let workers = [
        ("MILLRACE_STORAGE", "cluster".to_owned()),
        ("MILLRACE_S3_BUCKET", BUCKET.to_owned()),
        ("MILLRACE_S3_ENDPOINT", variable("MILLRACE_TEST_S3")),
        ("MILLRACE_S3_ACCESS_KEY", variable("MILLRACE_TEST_S3_KEY")),
        ("MILLRACE_S3_SECRET_KEY", variable("MILLRACE_TEST_S3_SECRET")),
        ("MILLRACE_REDIS_URL", variable("MILLRACE_TEST_REDIS")),
        ("MILLRACE_SCREENING_DNS", "off".to_owned()),
    ];
    options.variables = workers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    options
}

async fn blobs() -> Arc<dyn BlobStore> {
    let mut s3 = S3Options::new(BUCKET);
    s3.endpoint = Some(variable("MILLRACE_TEST_S3"));
    s3.access_key = Some(variable("MILLRACE_TEST_S3_KEY"));
    s3.secret_key = Some(Secret::new(variable("MILLRACE_TEST_S3_SECRET")));
    let store = object_store::build(&s3).unwrap();
    Arc::new(S3Packs::open(store, &s3, S3PackOptions::default()).await.unwrap())
}

/// What Arroyo cannot say: where the record of a dead letter is. And what it says in other words: nothing.
fn comparable(mut output: Value) -> Value {
    if output["topic"] == Topic::DeadLetter.name() {
        for column in ["topic", "partition", "offset"] {
            output["value"][column] = Value::Null;
        }
    }
    outputs::golden(output)
}

fn is_behind(report: &LagReport) -> bool {
    report.lags.iter().any(|lag| lag.records > 0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Arroyo and a cluster of its own: MILLRACE_ARROYO_URL"]
async fn the_golden_inputs_give_on_arroyo_what_they_give_here() {
    let client = ArroyoClient::new(&variable("MILLRACE_ARROYO_URL")).unwrap();
    let log = KafkaLog::open(KafkaOptions::new(variable("MILLRACE_TEST_KAFKA"), "arroyo-test")).await.unwrap();
    let (pipelines, options) = (built_in().unwrap(), options());
    let plan = Plan::new(&pipelines, &options).unwrap();
    let planned = check_there(&plan, &client).await.unwrap();
    assert!(planned.is_ok(), "{planned}");
    let report = deploy(&plan, &client, &log, &options).await.unwrap();
    assert!(report.is_complete(), "{report}");

    // Records that cannot be decoded stop a job of Arroyo's: what is appended in a cluster is always a record.
    let all: Vec<Input> =
        inputs::read("10_reception").into_iter().filter(|input| input.undecodable.is_none()).collect();
    let (blobs, mut names) = (blobs().await, BTreeMap::new());
    for wave in 1..=all.iter().map(|input| input.wave).max().unwrap() {
        let wave: Vec<Input> = all.iter().filter(|input| input.wave == wave).cloned().collect();
        let records = inputs::records(blobs.as_ref(), &wave, &mut names).await;
        support::append(&log, records).await;
        let deadline = Instant::now() + PATIENCE;
        while is_behind(&lag(&log, &pipelines, Runner::Arroyo).await.unwrap()) {
            assert!(Instant::now() < deadline, "{}", lag(&log, &pipelines, Runner::Arroyo).await.unwrap());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // What was read is seen with the checkpoint after the next.
        tokio::time::sleep(options.checkpoint_interval * 3).await;
    }

    let got: Vec<Value> = outputs::unchecked(&log, &names).await.into_iter().map(comparable).collect();
    let golden = std::fs::read_to_string(inputs::folder("10_reception").join("outputs.jsonl")).unwrap();
    let golden = golden.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let is_decoded =
        |value: &Value| value["topic"] != Topic::DeadLetter.name() || !value["value"]["message_id"].is_null();
    let mut wanted: Vec<Value> = golden.filter(is_decoded).map(comparable).collect();
    let mut got = got;
    got.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    assert_eq!(got, wanted);

    let again = deploy(&plan, &client, &log, &options).await.unwrap();
    assert!(again.is_complete(), "{again}");
}
