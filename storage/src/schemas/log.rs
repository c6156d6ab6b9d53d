//! A log whose records come with their schemas known: what decodes them need not ask anybody.
//!
//! A record may come whose schema was registered a moment ago, elsewhere. Before it is handed out, the topic `schemas` is
//! read on. Nothing is asked for records of our own schemas.
//!
//! Our own are compiled in. While processes are upgraded one by one, a newer one may write with a schema that this one does
//! not have: such a record is not handed out, so that nobody passes it over, and its partition waits for the upgrade.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;
use millrace_schemas::codec::split_header;
use millrace_schemas::registry::{FIRST_REGISTERED_ID, by_id};

use super::SchemaTopic;
use crate::log::{Consumer, Log, LogError, NewRecord, Position, Record};

/// A [`Log`] over another one.
pub struct SchemaAwareLog {
    log: Arc<dyn Log>,
    schemas: Arc<SchemaTopic>,
}

impl SchemaAwareLog {
    /// `schemas` is that of the same log.
    pub fn new(log: Arc<dyn Log>, schemas: Arc<SchemaTopic>) -> Self {
        Self { log, schemas }
    }
}

/// The ids of schemas that others have registered. Anything may be in a record.
fn registered_ids(records: &[Record]) -> impl Iterator<Item = u32> + '_ {
    let ids = records.iter().filter_map(|record| split_header(&record.value).ok());
    ids.map(|(id, _)| id).filter(|id| *id >= FIRST_REGISTERED_ID)
}

/// Refuses records with a schema of ours that is not compiled in. Ids begin at 1, and others get theirs far above.
fn ours_are_known(records: &[Record]) -> Result<(), LogError> {
    for record in records {
        let Ok((id, _)) = split_header(&record.value) else { continue };
        if (1..FIRST_REGISTERED_ID).contains(&id) && by_id(id).is_none() {
            let Position { topic, partition, offset } = record.position;
            return Err(LogError::Unavailable(format!(
                "{topic}/{partition}/{offset} has the schema {id}, written by a newer version; upgrade this process, and \
                 it goes on from there"
            )));
        }
    }
    Ok(())
}

#[async_trait]
impl Log for SchemaAwareLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.log.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.log.append(records).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let records = self.log.read(topic, partition, offset, max_records, max_bytes).await?;
        ours_are_known(&records)?;
        self.schemas.know(registered_ids(&records)).await?;
        Ok(records)
    }

    async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        self.log.bounds(topic, partition).await
    }

    async fn wait(&self, topic: Topic, partition: u32, offset: u64, timeout: Duration) -> Result<bool, LogError> {
        self.log.wait(topic, partition, offset, timeout).await
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Consumer>, LogError> {
        let consumer = self.log.subscribe(group, topic).await?;
        Ok(Box::new(SchemaAwareConsumer { consumer, schemas: self.schemas.clone(), held: Vec::new() }))
    }

    async fn committed(&self, group: &str, topic: Topic, partition: u32) -> Result<Option<u64>, LogError> {
        self.log.committed(group, topic, partition).await
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        self.log.enforce_retention().await
    }
}

struct SchemaAwareConsumer {
    consumer: Box<dyn Consumer>,
    schemas: Arc<SchemaTopic>,
    /// Polled, and not yet handed out.
    held: Vec<Record>,
}

impl SchemaAwareConsumer {
    async fn hand_out(&mut self, max_records: usize) -> Result<Vec<Record>, LogError> {
        ours_are_known(&self.held)?;
        self.schemas.know(registered_ids(&self.held)).await?;
        let rest = self.held.split_off(max_records.min(self.held.len()));
        Ok(std::mem::replace(&mut self.held, rest))
    }
}

#[async_trait]
impl Consumer for SchemaAwareConsumer {
    fn assignment(&self) -> Vec<u32> {
        self.consumer.assignment()
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.held.retain(|record| record.position.partition != partition);
        self.consumer.seek(partition, offset).await
    }

    /// Records whose schemas cannot be looked up now are kept for the next poll. A poll that is dropped forgets none.
    async fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        if self.held.is_empty() {
            self.held = self.consumer.poll(max_records, timeout).await?;
        }
        self.hand_out(max_records).await
    }

    async fn commit(&mut self, outputs: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        if self.held.is_empty() {
            return self.consumer.commit(outputs).await;
        }
        // They would be passed over.
        self.rewind().await?;
        Err(LogError::Unavailable("polled records wait for their schemas".to_owned()))
    }

    async fn rewind(&mut self) -> Result<(), LogError> {
        self.held.clear();
        self.consumer.rewind().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use millrace_schemas::codec::header;

    use super::*;
    use crate::embedded::{EmbeddedLog, LogOptions};
    use crate::testing::{HinderedLog, Hindrance};

    struct World {
        /// The topic `schemas` may not be readable.
        log: Arc<HinderedLog>,
        aware: SchemaAwareLog,
        _dir: tempfile::TempDir,
    }

    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), LogOptions::default()).unwrap();
        let log = Arc::new(HinderedLog::new(Arc::new(log), Topic::Schemas));
        let aware = SchemaAwareLog::new(log.clone(), Arc::new(SchemaTopic::new(log.clone())));
        World { log, aware, _dir: dir }
    }

    impl World {
        /// An entry as another process appends it, of which this one knows nothing, and a record that was written with it.
        async fn written_elsewhere(&self, name: &str) -> u32 {
            let schema = format!(r#"{{"name":"{name}","type":"record","fields":[]}}"#);
            let id = millrace_schemas::Registrations::default().id_for(Topic::Screened, &schema);
            let entry = millrace_schemas::SchemaEntry {
                entry_id: name.to_owned(),
                id: id.into(),
                subject: Topic::Screened.subject(),
                schema,
                ..Default::default()
            };
            let value = millrace_schemas::encode(&entry).unwrap();
            let registered = NewRecord { topic: Topic::Schemas, key: entry.entry_id, value };
            let value = Bytes::copy_from_slice(&header(id));
            let written = NewRecord { topic: Topic::Screened, key: "k".to_owned(), value };
            self.log.append(vec![registered, written]).await.unwrap();
            assert!(by_id(id).is_none());
            id
        }
    }

    const WAIT: Duration = Duration::from_secs(5);

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_comes_with_its_schema_known() {
        let world = world();
        let mut consumer = world.aware.subscribe("g", Topic::Screened).await.unwrap();
        let id = world.written_elsewhere("AwarePolled").await;
        while consumer.poll(10, WAIT).await.unwrap().is_empty() {}
        assert!(by_id(id).is_some());
        let id = world.written_elsewhere("AwareRead").await;
        let partition = millrace_schemas::topic::partition_of("k", world.aware.partitions(Topic::Screened));
        assert_eq!(world.aware.read(Topic::Screened, partition, 0, 10, 1 << 20).await.unwrap().len(), 2);
        assert!(by_id(id).is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn records_wait_while_their_schemas_cannot_be_looked_up_and_none_is_lost() {
        let world = world();
        let mut consumer = world.aware.subscribe("g", Topic::Screened).await.unwrap();
        while consumer.assignment().is_empty() {
            consumer.poll(1, WAIT).await.unwrap();
        }
        let id = world.written_elsewhere("AwareHindered").await;
        world.log.hinder(Hindrance::Now);
        while consumer.poll(10, WAIT).await.is_ok() {}
        assert!(consumer.poll(10, WAIT).await.is_err());
        assert!(consumer.commit(Vec::new()).await.is_err(), "what was not handed out is not passed over");
        assert!(consumer.poll(10, WAIT).await.is_err());
        world.log.hinder(Hindrance::Never);
        assert_eq!(consumer.poll(10, WAIT).await.unwrap().len(), 1);
        assert!(by_id(id).is_some());
        consumer.commit(Vec::new()).await.unwrap();
        assert!(consumer.poll(10, A_MOMENT).await.unwrap().is_empty());
    }

    const A_MOMENT: Duration = Duration::from_millis(100);

    #[tokio::test(flavor = "multi_thread")]
    async fn an_id_that_nobody_registered_holds_nothing_up() {
        let world = world();
        let value = Bytes::copy_from_slice(&header(u32::MAX));
        let junk = NewRecord { topic: Topic::Screened, key: "k".to_owned(), value };
        let positions = world.aware.append(vec![junk]).await.unwrap();
        let read = world.aware.read(Topic::Screened, positions[0].partition, 0, 10, 1 << 20).await.unwrap();
        assert_eq!(read.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_of_a_newer_version_waits_for_the_upgrade() {
        let world = world();
        let mut consumer = world.aware.subscribe("g", Topic::MailboxChanges).await.unwrap();
        let newer = FIRST_REGISTERED_ID - 1;
        assert!(by_id(newer).is_none());
        let value = Bytes::copy_from_slice(&header(newer));
        let record = NewRecord { topic: Topic::MailboxChanges, key: "k".to_owned(), value };
        let positions = world.aware.append(vec![record]).await.unwrap();
        let partition = positions[0].partition;
        let refused = world.aware.read(Topic::MailboxChanges, partition, 0, 10, 1 << 20).await.unwrap_err().to_string();
        assert!(refused.contains("the schema 65535, written by a newer version; upgrade this process"), "{refused}");
        while consumer.poll(10, WAIT).await.is_ok_and(|records| records.is_empty()) {}
        assert!(matches!(consumer.poll(10, WAIT).await, Err(LogError::Unavailable(_))));
        assert!(consumer.commit(Vec::new()).await.is_err(), "nobody passes it over");
        assert_eq!(world.aware.committed("g", Topic::MailboxChanges, partition).await.unwrap(), None);
    }
}
