//! Records of `mailbox.changes` to what they do to an index.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use millrace_schemas::{MailboxChange, MailboxPatch, decode_changes};
use millrace_storage::{BlobError, BlobStore, BodyRef, Log, LogError, Record};
use tantivy::IndexWriter;

use super::error::SearchError;
use super::index::TextIndex;
use super::schema::Source;
use crate::mail::conditions;

/// Bodies read at the same time, and held at a time.
const MAX_READS: usize = 16;
/// Stored bytes of bodies held at a time while they are read and parsed, unless one is larger.
const MAX_HELD_BYTES: u64 = 4 << 20;

/// What a record does to the index, in the order of the log.
pub(super) enum Step {
    Add(Source, Option<Bytes>),
    Delete { account_id: String, email_id: String },
}

impl Step {
    /// What its body takes where it is stored.
    fn stored_bytes(&self) -> u64 {
        match self {
            Step::Add(source, _) => BodyRef::from_str(&source.body).map_or(0, |reference| reference.length),
            Step::Delete { .. } => 0,
        }
    }
}

/// What the records mean to the index; those of one partition follow each other.
pub(super) async fn steps(records: &[Record], log: &dyn Log) -> Result<Vec<Step>, LogError> {
    let values: Vec<_> = records.iter().map(|record| &record.value).collect();
    let mut partitions: BTreeMap<u32, Vec<(u64, MailboxChange)>> = BTreeMap::new();
    for (record, change) in records.iter().zip(decode_changes(&values)) {
        // The lander tells of records that cannot be read.
        let Ok(change) = change else { continue };
        partitions.entry(record.position.partition).or_default().push((record.position.offset, change));
    }
    let mut steps = Vec::with_capacity(records.len());
    for (partition, changes) in partitions {
        let refused = conditions::refused(log, partition, changes.iter().map(|(seq, change)| (*seq, change))).await?;
        let held = changes.into_iter().filter(|(seq, _)| !refused.contains(seq));
        steps.extend(held.filter_map(|(_, change)| step(change)));
    }
    Ok(steps)
}

/// What a change means to the index; most updates mean nothing.
fn step(change: MailboxChange) -> Option<Step> {
    match change.kind.as_str() {
        MailboxChange::DELIVERED => Some(Step::Add(Source::of(change), None)),
        MailboxChange::UPDATED => {
            let patch: MailboxPatch = serde_json::from_str(change.patch.as_deref()?).ok()?;
            patch.is_destroyed.then_some(Step::Delete { account_id: change.account_id, email_id: change.email_id })
        }
        _ => None,
    }
}

/// Splits steps into groups whose bodies may be held together.
pub(super) fn groups(steps: Vec<Step>) -> Vec<Vec<Step>> {
    let mut groups: Vec<Vec<Step>> = Vec::new();
    let mut held = 0;
    for step in steps {
        let bytes = step.stored_bytes();
        match groups.last_mut() {
            Some(group) if group.len() < MAX_READS && held + bytes <= MAX_HELD_BYTES => {
                held += bytes;
                group.push(step);
            }
            _ => {
                held = bytes;
                groups.push(vec![step]);
            }
        }
    }
    groups
}

/// Reads the bodies of a group, in its order.
pub(super) async fn with_bodies(group: Vec<Step>, blobs: &dyn BlobStore) -> Result<Vec<Step>, BlobError> {
    let mut read = Vec::with_capacity(group.len());
    for step in group {
        read.push(with_body(step, blobs));
    }
    futures::stream::iter(read).buffered(MAX_READS).try_collect().await
}

async fn with_body(step: Step, blobs: &dyn BlobStore) -> Result<Step, BlobError> {
    match step {
        Step::Add(source, _) => {
            let body = read_patiently(&source, blobs).await?;
            Ok(Step::Add(source, body))
        }
        delete @ Step::Delete { .. } => Ok(delete),
    }
}

/// Adds and deletes in order.
pub(super) fn take_steps(index: &TextIndex, writer: &IndexWriter, steps: Vec<Step>) -> Result<(), SearchError> {
    for step in steps {
        match step {
            Step::Add(source, body) => index.add(writer, &source.document(body.as_deref()))?,
            Step::Delete { account_id, email_id } => index.delete(writer, &account_id, &email_id),
        }
    }
    Ok(())
}

/// The body, tried again for a while when the store does not answer.
async fn read_patiently(source: &Source, blobs: &dyn BlobStore) -> Result<Option<Bytes>, BlobError> {
    let mut pause = Duration::from_millis(50);
    loop {
        match source.read(blobs).await {
            Err(BlobError::Unavailable(reason)) if pause < Duration::from_secs(5) => {
                tracing::warn!(reason, "a body cannot be read now and is tried again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
}
