//! What the runner itself costs: `cargo test --release -p millrace-pipelines --test rate -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_pipelines::Options;
use support::scripted::{Scripted, reception};

const MESSAGES: usize = 20_000;

/// Functions that do next to nothing, one worker, a log that syncs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn the_runner_takes_3000_messages_a_second_with_trivial_functions() {
    let folder = tempfile::tempdir().unwrap();
    let storage = support::open(folder.path(), 1).await;
    for first in (0..MESSAGES).step_by(1_000) {
        let records = (first..first + 1_000).map(|n| reception(&n.to_string(), "", &["a a@x.test"])).collect();
        support::append(storage.log.as_ref(), records).await;
    }
    let options = Options { workers: 1, poll_timeout: Duration::from_millis(50), ..Options::default() };
    let started = Instant::now();
    let functions = Arc::new(Scripted::default());
    support::run_until_drained(&support::reception(), storage.log.clone(), functions, options).await;
    let rate = MESSAGES as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} messages a second on one worker");
    assert!(rate >= 3_000.0);
}
