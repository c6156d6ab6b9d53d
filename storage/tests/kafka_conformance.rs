//! The log on Kafka passes the suite that every log must pass.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use millrace_storage::Log;
use millrace_storage::cluster::{KafkaLog, KafkaOptions};
use millrace_storage::conformance::{self, Place};

struct Brokers;

fn options() -> KafkaOptions {
    let brokers = std::env::var("MILLRACE_TEST_KAFKA").expect("MILLRACE_TEST_KAFKA is the address of a broker");
    KafkaOptions::new(brokers, format!("test-{}", std::process::id()))
}

#[async_trait]
impl Place<dyn Log> for Brokers {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(KafkaLog::open(options()).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn the_log_conforms() {
    conformance::log::all(&Brokers).await;
}
