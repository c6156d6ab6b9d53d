//! The topic `schemas`: what was registered, and registering more.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millrace_schemas::registry::{Registered, by_id};
use millrace_schemas::{CodecError, Registrations, SchemaEntry, Topic, decode, encode};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use ulid::Ulid;

use crate::log::{Log, LogError, NewRecord};

/// Others than ours, for one topic. A pipeline registers one for each of its forms, so this is years of changes.
const MAX_OF_TOPIC: usize = 256;

/// How often an id may go to somebody else in between.
const MAX_TRIES: usize = 8;

/// How long an entry may take to show that was acknowledged.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("{0} has {MAX_OF_TOPIC} registered schemas, and no more are taken; write with one of them")]
    TooMany(Topic),
    /// What was asked for may have been registered all the same: ask again.
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// The topic as this process has read it.
pub struct SchemaTopic {
    log: Arc<dyn Log>,
    view: RwLock<Registrations>,
    /// Held while reading, so that entries are applied in order.
    reading: Mutex<Reading>,
}

#[derive(Default)]
struct Reading {
    /// The next offset to read.
    next: u64,
    /// When the last read began that found no more.
    began_at: Option<Instant>,
}

impl SchemaTopic {
    /// Nothing has been read yet.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, view: RwLock::default(), reading: Mutex::default() }
    }

    /// Reads what has been appended.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn catch_up(&self) -> Result<(), LogError> {
        self.read_on().await.map(drop)
    }

    /// The offset behind the last entry. Of many who ask at the same time, most are served by one read.
    async fn read_on(&self) -> Result<u64, LogError> {
        let asked_at = Instant::now();
        let mut reading = self.reading.lock().await;
        if reading.began_at.is_some_and(|began_at| began_at >= asked_at) {
            return Ok(reading.next);
        }
        loop {
            let began_at = Instant::now();
            let records = self.log.read(Topic::Schemas, 0, reading.next, 1_000, 1 << 20).await?;
            let Some(last) = records.last() else {
                reading.began_at = Some(began_at);
                return Ok(reading.next);
            };
            let mut view = self.view.write();
            for record in &records {
                let offset = record.position.offset;
                match decode::<SchemaEntry>(&record.value).map(|entry| view.apply(&entry)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, offset, "a registered schema cannot be used here"),
                    Err(error) => tracing::warn!(%error, offset, "an entry of the topic schemas cannot be read"),
                }
            }
            reading.next = last.position.offset + 1;
        }
    }

    /// Looks at what has been read.
    pub fn view<T>(&self, look: impl FnOnce(&Registrations) -> T) -> T {
        look(&self.view.read())
    }

    /// Lets the decoders of this process know the schemas with these ids, if anybody has registered them.
    ///
    /// # Errors
    /// When that cannot be found out now.
    pub async fn know(&self, ids: impl Iterator<Item = u32>) -> Result<(), LogError> {
        for id in ids {
            if by_id(id).is_none() {
                // One look is enough for all: whoever writes with a schema has registered it before.
                return self.catch_up().await;
            }
        }
        Ok(())
    }

    /// The schema of a topic with this canonical form, which gets an id when it has none. Whether its records can be read
    /// is for the caller to say.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn register(&self, topic: Topic, canonical: &str) -> Result<&'static Registered, RegisterError> {
        self.catch_up().await?;
        for _ in 0..MAX_TRIES {
            if let Some(found) = self.view(|view| view.find(topic, canonical)) {
                return Ok(found);
            }
            if self.view(|view| view.of(topic).len()) >= MAX_OF_TOPIC {
                return Err(RegisterError::TooMany(topic));
            }
            let entry = self.entry(topic, canonical);
            let value = encode(&entry)?;
            let record = NewRecord { topic: Topic::Schemas, key: entry.entry_id, value };
            let positions = self.log.append(vec![record]).await?;
            self.read_behind(positions.first().map_or(0, |position| position.offset)).await?;
        }
        Err(LogError::Unavailable("others register schemas all the time; try again".to_owned()).into())
    }

    fn entry(&self, topic: Topic, canonical: &str) -> SchemaEntry {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SchemaEntry {
            entry_id: Ulid::new().to_string(),
            id: self.view(|view| view.id_for(topic, canonical)).into(),
            subject: topic.subject(),
            schema: canonical.to_owned(),
            registered_at_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
        }
    }

    async fn read_behind(&self, offset: u64) -> Result<(), LogError> {
        let read = async {
            while self.read_on().await? <= offset {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        let late = |_| LogError::Unavailable("an entry of the topic schemas does not show; try again".to_owned());
        tokio::time::timeout(PATIENCE, read).await.map_err(late)?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::embedded::{EmbeddedLog, LogOptions};

    /// Distinct by `name`.
    fn schema(name: &str) -> String {
        format!(r#"{{"name":"{name}","type":"record","fields":[{{"name":"stage","type":"string"}}]}}"#)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_who_register_at_the_same_time_agree() {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(dir.path(), LogOptions::default()).unwrap());
        let (one, other) = (SchemaTopic::new(log.clone()), SchemaTopic::new(log));
        let names: Vec<String> = (0..5).map(|n| schema(&format!("SchemaTopicTwo{n}"))).collect();
        let register = |topic: &'static SchemaTopic, name: String| async move {
            topic.register(Topic::Screened, &name).await.unwrap().id
        };
        let (one, other): (&'static _, &'static _) = (Box::leak(Box::new(one)), Box::leak(Box::new(other)));
        let asked = names.iter().flat_map(|name| [(one, name.clone()), (other, name.clone())]);
        let ids = futures::future::join_all(asked.map(|(topic, name)| register(topic, name))).await;
        for pair in ids.chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
        one.catch_up().await.unwrap();
        assert_eq!(one.view(|view| view.of(Topic::Screened).len()), 5);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn ids_outlive_the_process_and_compaction() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..3).map(|n| schema(&format!("SchemaTopicKept{n}"))).collect();
        let mut ids = Vec::new();
        {
            let log = Arc::new(EmbeddedLog::open(dir.path(), LogOptions::default()).unwrap());
            let topic = SchemaTopic::new(log.clone());
            for name in &names {
                ids.push(topic.register(Topic::Delivery, name).await.unwrap().id);
                ids.push(topic.register(Topic::Delivery, name).await.unwrap().id);
            }
            log.enforce_retention().await.unwrap();
        }
        let topic = SchemaTopic::new(Arc::new(EmbeddedLog::open(dir.path(), LogOptions::default()).unwrap()));
        topic.catch_up().await.unwrap();
        let kept: Vec<u32> = topic
            .view(|view| names.iter().flat_map(|name| [view.find(Topic::Delivery, name).unwrap().id; 2]).collect());
        assert_eq!(kept, ids);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn there_is_an_end_to_what_a_topic_takes() {
        let dir = tempfile::tempdir().unwrap();
        let topic = SchemaTopic::new(Arc::new(EmbeddedLog::open(dir.path(), LogOptions::default()).unwrap()));
        for n in 0..MAX_OF_TOPIC {
            topic.register(Topic::Reception, &schema(&format!("SchemaTopicMany{n}"))).await.unwrap();
        }
        let refused = topic.register(Topic::Reception, &schema("SchemaTopicOneMore")).await;
        assert!(matches!(refused, Err(RegisterError::TooMany(Topic::Reception))));
        assert!(topic.register(Topic::Reception, &schema("SchemaTopicMany7")).await.is_ok());
    }
}
