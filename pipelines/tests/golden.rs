//! The built-in pipelines on real functions and a real log: whole, with restarts, at other batch sizes and numbers of
//! partitions. `MILLRACE_GOLDEN=write` writes the golden files anew.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millrace_pipelines::{Options, run};
use serde_json::Value;
use support::inputs::{self, Input};
use support::interrupt::{Interrupting, Moment};
use support::outputs;
use tokio_util::sync::CancellationToken;

struct Shape {
    partitions: u32,
    workers: usize,
    max_records: usize,
    interrupted: Option<Moment>,
}

/// All waves through the pipeline in a fresh directory; what came out.
async fn outputs_of(shape: Shape) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let all = inputs::read("10_reception");
    let mut names = BTreeMap::new();
    for wave in 1..=all.iter().map(|input| input.wave).max().unwrap() {
        let wave: Vec<Input> = all.iter().filter(|input| input.wave == wave).cloned().collect();
        let storage = support::open(folder.path(), shape.partitions).await;
        let records = inputs::records(storage.blobs.as_ref(), &wave, &mut names).await;
        support::append(storage.log.as_ref(), records).await;
        drop(storage);
        pass(folder.path(), &shape).await;
    }
    let storage = support::open(folder.path(), shape.partitions).await;
    outputs::read(storage.log.as_ref(), &names).await
}

async fn pass(folder: &Path, shape: &Shape) {
    let options = Options {
        workers: shape.workers,
        max_records: shape.max_records,
        poll_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let pipeline = support::reception();
    let Some(moment) = shape.interrupted else {
        let storage = support::open(folder, shape.partitions).await;
        let functions = support::stages(&storage);
        return support::run_until_drained(&pipeline, storage.log.clone(), functions, options).await;
    };
    // Each start works on a newly opened directory until it is stopped dead, until nothing is left.
    for start in 0.. {
        assert!(start < 200, "no progress over {start} starts");
        let storage = support::open(folder, shape.partitions).await;
        if support::is_drained(storage.log.as_ref(), &pipeline).await {
            break;
        }
        let log = Interrupting::new(storage.log.clone(), moment);
        let functions = support::stages(&storage);
        if moment == Moment::Refused {
            return support::run_until_drained(&pipeline, log, functions, options).await;
        }
        let running =
            tokio::spawn(run(pipeline.clone(), log.clone(), functions, options.clone(), CancellationToken::new()));
        while !log.stopped.is_cancelled() && !support::is_drained(log.as_ref(), &pipeline).await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.abort();
        let _ = running.await;
    }
}

const WHOLE: Shape = Shape { partitions: 4, workers: 1, max_records: 512, interrupted: None };

#[tokio::test(flavor = "multi_thread")]
async fn reception_gives_its_golden_output() {
    let outputs: Vec<Value> = outputs_of(WHOLE).await.into_iter().map(outputs::golden).collect();
    let text: String = outputs.iter().map(|output| format!("{output}\n")).collect();
    let path = inputs::folder("10_reception").join("outputs.jsonl");
    if std::env::var("MILLRACE_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    for (got, wanted) in text.lines().zip(wanted.lines()) {
        assert_eq!(got, wanted);
    }
    assert_eq!(text.lines().count(), wanted.lines().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_ends_in_exactly_one_place() {
    let outputs = outputs_of(WHOLE).await;
    let of = |topic: &'static str| outputs.iter().filter(move |output| output["topic"] == topic).map(|o| &o["value"]);
    for input in inputs::read("10_reception").iter().filter(|input| input.undecodable.is_none()) {
        let id = input.message_id.as_str();
        let whole = of("mail.dead-letter").filter(|l| l["message_id"] == id && l["recipient"].is_null()).count();
        assert_eq!(of("mail.screened").filter(|screened| screened["message_id"] == id).count() + whole, 1, "{id}");
        for entry in &input.recipients {
            let (account, address) = entry.split_once(' ').unwrap();
            let is_his = |value: &&Value| value["message_id"] == id && value["account_id"] == account;
            let events: Vec<_> = of("mail.delivery").filter(is_his).collect();
            let letters = of("mail.dead-letter").filter(|l| l["message_id"] == id && l["recipient"] == *entry).count();
            assert_eq!(events.len() + letters + whole, 1, "{id} for {entry}");
            let delivered = events.iter().filter(|event| event["event"] == "delivery").count();
            assert_eq!(of("mailbox.changes").filter(is_his).count(), delivered, "{id} for {entry}");
            assert!(events.iter().all(|event| event["recipient"] == address));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_batch_sizes_partitions_and_workers_give_the_same() {
    let whole = outputs_of(WHOLE).await;
    for (partitions, workers, max_records) in [(1, 1, 512), (1, 1, 1), (4, 3, 2), (7, 2, 3)] {
        let other = outputs_of(Shape { partitions, workers, max_records, interrupted: None }).await;
        assert_same(&whole, &other, &format!("{partitions} partitions, {workers} workers, {max_records} records"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_before_and_after_commits_give_the_same() {
    let whole = outputs_of(WHOLE).await;
    for moment in [Moment::BeforeCommit, Moment::AfterCommit, Moment::Refused] {
        for (partitions, workers, max_records) in [(1, 1, 2), (4, 2, 1)] {
            let shape = Shape { partitions, workers, max_records, interrupted: Some(moment) };
            assert_same(&whole, &outputs_of(shape).await, &format!("{moment:?}, {partitions} partitions"));
        }
    }
}

fn assert_same(whole: &[Value], other: &[Value], shape: &str) {
    for (whole, other) in whole.iter().zip(other) {
        assert_eq!(whole, other, "{shape}");
    }
    assert_eq!(whole.len(), other.len(), "{shape}");
}
