//! What a pipeline made, in a form that two runs can be compared by.

use std::collections::BTreeMap;

use millrace_schemas::{AvroRecord, DeadLetter, Delivery, MailboxChange, Screened, Topic, decode};
use millrace_storage::{Log, Record};
use serde_json::{Value, json};

/// All records of the sinks, sorted; bodies by name, and without the partitions and offsets of dead letters, which
/// depend on the number of partitions.
pub async fn read(log: &dyn Log, names: &BTreeMap<String, String>) -> Vec<Value> {
    for letter in all(log, Topic::DeadLetter).await {
        check_position(log, &json::<DeadLetter>(&letter)).await;
    }
    unchecked(log, names).await
}

/// The same, of a runner that does not say where the records of dead letters are.
pub async fn unchecked(log: &dyn Log, names: &BTreeMap<String, String>) -> Vec<Value> {
    let mut outputs = Vec::new();
    for topic in [Topic::Screened, Topic::MailboxChanges, Topic::Delivery, Topic::DeadLetter] {
        for record in all(log, topic).await {
            let mut value = match topic {
                Topic::Screened => json::<Screened>(&record),
                Topic::MailboxChanges => json::<MailboxChange>(&record),
                Topic::Delivery => json::<Delivery>(&record),
                _ => json::<DeadLetter>(&record),
            };
            if topic == Topic::DeadLetter {
                value["partition"] = Value::Null;
                value["offset"] = Value::Null;
            }
            outputs.push(json!({"topic": topic.name(), "key": record.key, "value": name_bodies(value, names)}));
        }
    }
    outputs.sort_by_key(Value::to_string);
    outputs
}

fn json<R: AvroRecord>(record: &Record) -> Value {
    let value = decode::<R>(&record.value).unwrap();
    assert_eq!(value.key(), record.key, "the key of a record of {}", R::TOPIC);
    serde_json::to_value(value).unwrap()
}

pub async fn all(log: &dyn Log, topic: Topic) -> Vec<Record> {
    let mut records = Vec::new();
    for partition in 0..log.partitions(topic) {
        let (mut offset, end) = log.bounds(topic, partition).await.unwrap();
        while offset < end {
            let read = log.read(topic, partition, offset, 1_000, 1 << 20).await.unwrap();
            offset = read.last().unwrap().position.offset + 1;
            records.extend(read);
        }
    }
    records
}

/// A dead letter says where its record is.
async fn check_position(log: &dyn Log, letter: &Value) {
    let topic: Topic = letter["topic"].as_str().expect("a topic").parse().unwrap();
    let partition = letter["partition"].as_u64().unwrap() as u32;
    let offset = letter["offset"].as_u64().unwrap();
    let record = log.read(topic, partition, offset, 1, 1).await.unwrap().remove(0);
    assert_eq!(record.position.offset, offset);
    if let Some(message_id) = letter["message_id"].as_str() {
        assert_eq!(record.key, message_id);
    }
}

fn name_bodies(value: Value, names: &BTreeMap<String, String>) -> Value {
    let mut text = value.to_string();
    for (reference, name) in names {
        text = text.replace(reference, name);
    }
    serde_json::from_str(&text).unwrap()
}

/// What a golden file keeps: of the verdicts only what the pipeline reads, since the functions have fixtures of
/// their own and their rules change.
pub fn golden(mut output: Value) -> Value {
    let value = &mut output["value"];
    for (column, kept) in [
        ("summary", &["subject", "thread_id"][..]),
        ("authentication", &["spf", "dkim", "dmarc", "arc", "dmarc_policy", "from_domain"]),
        ("virus", &["name"]),
        ("spam", &[]),
    ] {
        let Some(text) = value[column].as_str() else { continue };
        let verdict: Value = serde_json::from_str(text).unwrap();
        assert!(verdict["version"].is_string(), "{column} carries no version");
        value[column] = kept.iter().map(|key| ((*key).to_owned(), verdict[*key].clone())).collect();
    }
    if let Some(score) = value["spam_score"].as_f64() {
        value["spam_score"] = json!(if score >= 0.9 { "0.9 or more" } else { "less than 0.9" });
    }
    if value["reason"].as_str().is_some_and(|reason| reason.starts_with("spam: score ")) {
        value["reason"] = json!("spam: score …");
    }
    output
}
