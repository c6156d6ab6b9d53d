//! The log on Kafka passes the suite that every log must pass.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use millrace_storage::Log;
use millrace_storage::cluster::{KafkaLog, KafkaOptions};
use millrace_storage::conformance::{self, Place};

struct Brokers {
    is_name_kept: bool,
}

fn options(is_name_kept: bool) -> KafkaOptions {
    let brokers = std::env::var("MILLRACE_TEST_KAFKA").expect("MILLRACE_TEST_KAFKA is the address of a broker");
    let name = format!("test-{}-{is_name_kept}", std::process::id());
    KafkaOptions { is_name_kept, ..KafkaOptions::new(brokers, name) }
}

#[async_trait]
impl Place<dyn Log> for Brokers {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(KafkaLog::open(options(self.is_name_kept)).await.unwrap())
    }
}

/// One after the other: a transaction that one has open holds back what the other reads of the same partition.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn the_log_conforms() {
    for is_name_kept in [false, true] {
        conformance::log::all(&Brokers { is_name_kept }).await;
    }
}
