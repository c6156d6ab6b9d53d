//! Registered schemas in Kafka: processes agree, and hand records out with their schemas known.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_schemas::codec::{header, split_header};
use millrace_schemas::registry::by_id;
use millrace_schemas::{Registrations, SchemaEntry, Topic, encode};
use millrace_storage::cluster::{KafkaLog, KafkaOptions};
use millrace_storage::schemas::{SchemaAwareLog, SchemaTopic};
use millrace_storage::{Log, NewRecord};
use support::{service, unique};

const PATIENCE: Duration = Duration::from_secs(60);

/// The log as one of several processes has it.
async fn process() -> Arc<dyn Log> {
    Arc::new(KafkaLog::open(KafkaOptions::new(service("MILLRACE_TEST_KAFKA"), unique("test"))).await.unwrap())
}

/// One that no other run uses.
fn schema() -> String {
    let name = unique("S").replace('-', "_");
    format!(r#"{{"name":"{name}","type":"record","fields":[{{"name":"stage","type":"string"}}]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn processes_that_register_at_the_same_time_agree() {
    let topics = [SchemaTopic::new(process().await), SchemaTopic::new(process().await)];
    let schemas: Vec<String> = (0..5).map(|_| schema()).collect();
    let asked =
        schemas.iter().flat_map(|schema| topics.iter().map(move |topic| topic.register(Topic::Screened, schema)));
    let ids = futures::future::join_all(asked).await;
    let ids: Vec<u32> = ids.into_iter().map(|registered| registered.unwrap().id).collect();
    for pair in ids.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    let fresh = SchemaTopic::new(process().await);
    fresh.catch_up().await.unwrap();
    for (schema, id) in schemas.iter().zip(ids.iter().step_by(2)) {
        assert_eq!(fresh.view(|view| view.find(Topic::Screened, schema)).unwrap().id, *id);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn a_record_comes_with_its_schema_known() {
    let (writer, reader) = (process().await, process().await);
    let aware = SchemaAwareLog::new(reader.clone(), Arc::new(SchemaTopic::new(reader)));
    let mut consumer = aware.subscribe(&unique("g"), Topic::Screened).await.unwrap();
    let (schema, key) = (schema(), unique("k"));
    let id = Registrations::default().id_for(Topic::Screened, &schema);
    // As another process appends it, of which this one is told nothing.
    let entry = SchemaEntry {
        entry_id: unique("e"),
        id: id.into(),
        subject: Topic::Screened.subject(),
        schema,
        ..SchemaEntry::default()
    };
    let value = encode(&entry).unwrap();
    writer.append(vec![NewRecord { topic: Topic::Schemas, key: entry.entry_id, value }]).await.unwrap();
    let value = Bytes::copy_from_slice(&header(id));
    writer.append(vec![NewRecord { topic: Topic::Screened, key, value }]).await.unwrap();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "the record has not come");
        let records = consumer.poll(1_000, Duration::from_secs(1)).await.unwrap();
        if records.iter().any(|record| split_header(&record.value).is_ok_and(|(found, _)| found == id)) {
            break;
        }
        consumer.commit(Vec::new()).await.unwrap();
    }
    assert!(by_id(id).is_some());
}
