//! Records that a stage could not process: listed, shown, tried again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use millrace_query::sql::{Format, write_batches};
use millrace_schemas::{Reception, Topic, encode};
use millrace_storage::{BodyRef, NewRecord};
use serde_json::{Value, json};

use super::error::AdminError;
use crate::node::{Node, Role};

/// Bytes of a message that `show` gives.
const SHOWN_BYTES: usize = 4096;

/// A dead letter is open until its message, or the recipient that it speaks of, has been delivered after all. Of those
/// that speak of the same, one counts: the newest of those that one stage wrote.
const OPEN: &str = "\
    WITH letters AS (\
      SELECT concat(cast(log_partition AS varchar), '-', cast(log_offset AS varchar)) AS id, *, \
        row_number() OVER (PARTITION BY coalesce(message_id, concat(topic, log_partition, '-', log_offset)), recipient \
          ORDER BY log_offset DESC) AS age FROM dead_letter) \
    SELECT d.* EXCEPT (age) FROM letters d WHERE d.age = 1 AND (d.message_id IS NULL OR NOT EXISTS (\
      SELECT 1 FROM delivery e WHERE e.message_id = d.message_id \
      AND (d.recipient IS NULL OR d.recipient = concat(e.account_id, ' ', e.recipient))))";

async fn rows(node: &Node, sql: &str) -> Result<Vec<Value>, AdminError> {
    node.require(&[Role::Lander]).map_err(AdminError::conflict)?;
    node.begun().await.map_err(AdminError::internal)?;
    let (schema, batches) = node.sql.query_with_schema(sql).await.map_err(AdminError::internal)?;
    let mut text = Vec::new();
    write_batches(Format::Json, &schema, &batches, &mut text).map_err(AdminError::internal)?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(AdminError::internal)).collect()
}

pub async fn list(State(node): State<Arc<Node>>) -> Result<Json<Vec<Value>>, AdminError> {
    Ok(Json(rows(&node, &format!("{OPEN} ORDER BY d.failed_at DESC LIMIT 1000")).await?))
}

/// One dead letter by id: partition and offset in its topic.
async fn find(node: &Node, id: &str) -> Result<Value, AdminError> {
    let unknown =
        || AdminError::not_found(format!("there is no dead letter {id}; `millrace dead-letter list` shows them"));
    let (partition, offset) = id.split_once('-').ok_or_else(unknown)?;
    let (partition, offset): (u32, u64) = partition.parse().ok().zip(offset.parse().ok()).ok_or_else(unknown)?;
    let sql = format!("SELECT * FROM dead_letter WHERE log_partition = {partition} AND log_offset = {offset}");
    rows(node, &sql).await?.into_iter().next().ok_or_else(unknown)
}

pub async fn show(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, AdminError> {
    let mut letter = find(&node, &id).await?;
    letter["beginning"] = beginning(&node, &letter).await.into();
    Ok(Json(letter))
}

/// The first bytes of the message, or of the record where there is no message.
async fn beginning(node: &Node, letter: &Value) -> String {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned();
    if let Some(body) = letter["body"].as_str().and_then(|body| body.parse::<BodyRef>().ok()) {
        return match node.storage.blobs.get(&body).await {
            Ok(bytes) => shown(&bytes),
            Err(error) => format!("({error})"),
        };
    }
    match record(node, letter).await {
        Ok(record) => shown(&record.value),
        Err(_) => "(the record is no longer in the log)".to_owned(),
    }
}

/// The record that failed, as it lies in the log.
async fn record(node: &Node, letter: &Value) -> Result<NewRecord, AdminError> {
    let gone = || AdminError::not_found("the record that failed is no longer in the log");
    let topic: Topic = letter["topic"].as_str().and_then(|topic| topic.parse().ok()).ok_or_else(gone)?;
    let partition = letter["partition"].as_u64().ok_or_else(gone)? as u32;
    let offset = letter["offset"].as_u64().ok_or_else(gone)?;
    let read = node.storage.log.read(topic, partition, offset, 1, 1 << 20).await.map_err(AdminError::internal)?;
    let record = read.into_iter().find(|record| record.position.offset == offset).ok_or_else(gone)?;
    Ok(NewRecord { topic, key: record.key, value: record.value })
}

/// Appends the record again, narrowed to the recipient where only one of them failed.
pub async fn retry(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Json<()>, AdminError> {
    node.require(&[Role::Pipelines, Role::Lander]).map_err(AdminError::conflict)?;
    let _turn = node.retrying.lock().await;
    let letter = find(&node, &id).await?;
    check_open(&node, &id, &letter).await?;
    let record = match letter["message_id"].as_str() {
        Some(message_id) => reception(&node, message_id, letter["recipient"].as_str()).await?,
        None => record(&node, &letter).await?,
    };
    node.storage.log.append(vec![record]).await.map_err(AdminError::internal)?;
    Ok(Json(()))
}

/// Refuses a letter whose message has been delivered, is on its way, or is spoken of by another letter.
async fn check_open(node: &Node, id: &str, letter: &Value) -> Result<(), AdminError> {
    let open = rows(node, OPEN).await?;
    let is_same = |other: &&Value| ["message_id", "recipient"].iter().all(|field| other[field] == letter[field]);
    if !open.iter().any(|open| open["id"] == id) {
        let now = match open.iter().find(is_same).and_then(|open| open["id"].as_str()) {
            Some(newer) if letter["message_id"].is_string() => format!("failed again, as {newer}"),
            _ => "has gone through".to_owned(),
        };
        return Err(AdminError::conflict(format!(
            "{id} was tried again already, and {now}; `millrace dead-letter list` shows what is open"
        )));
    }
    if let Some(message_id) = letter["message_id"].as_str()
        && is_under_way(node, message_id, letter["recipient"].as_str()).await?
    {
        return Err(AdminError::conflict(format!(
            "{id} is going through the pipeline again already; `millrace dead-letter list` shows what is open"
        )));
    }
    Ok(())
}

/// Whether the message was received once more than it failed, for this recipient or as a whole.
async fn is_under_way(node: &Node, message_id: &str, recipient: Option<&str>) -> Result<bool, AdminError> {
    let id = quoted(message_id);
    let letters = rows(node, &format!("SELECT recipient FROM dead_letter WHERE message_id = {id}")).await?;
    let receptions = rows(node, &format!("SELECT recipients FROM reception WHERE message_id = {id}")).await?;
    let failed = letters.iter().filter(|letter| letter["recipient"].as_str().is_none_or(|of| Some(of) == recipient));
    let has_recipient = |reception: &&Value| {
        let mut recipients = reception["recipients"].as_array().into_iter().flatten();
        recipient.is_none_or(|recipient| recipients.any(|one| one == recipient))
    };
    Ok(receptions.iter().filter(has_recipient).count() > failed.count())
}

/// Text as a literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn reception(node: &Node, message_id: &str, recipient: Option<&str>) -> Result<NewRecord, AdminError> {
    let sql = format!("SELECT * FROM reception WHERE message_id = {} LIMIT 1", quoted(message_id));
    let row = rows(node, &sql).await?.into_iter().next();
    let row = row.ok_or_else(|| AdminError::not_found(format!("the reception of {message_id} is in no table")))?;
    let mut reception = reception_of(row).map_err(AdminError::internal)?;
    if let Some(recipient) = recipient {
        reception.recipients = vec![recipient.to_owned()];
    }
    let value = encode(&reception).map_err(AdminError::internal)?;
    Ok(NewRecord { topic: Topic::Reception, key: reception.message_id, value })
}

/// A row of the table is the record, but for the time and the columns that say where it was.
fn reception_of(mut row: Value) -> anyhow::Result<Reception> {
    let received_at = row["received_at"].as_str().unwrap_or_default();
    let received_at = chrono::DateTime::parse_from_rfc3339(received_at)?;
    row["received_at_us"] = json!(received_at.timestamp_micros());
    if row.get("reverse_path").is_none() {
        row["reverse_path"] = Value::Null;
    }
    Ok(serde_json::from_value(row)?)
}
