//! Many records at once: framed Avro straight to and from Arrow batches, for the hot paths.

use std::sync::Arc;

use ::arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use ::arrow::record_batch::RecordBatch;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SCHEMA_METADATA_KEY, SchemaStore};
use arrow_avro::writer::{WriterBuilder, format::AvroBinaryFormat};
use bytes::Bytes;

use crate::{Topic, codec, registry};

#[derive(Debug, thiserror::Error)]
pub enum ArrowCodecError {
    #[error("reading {topic} records into Arrow: {message}")]
    Decode { topic: Topic, message: String },
    #[error("writing an Arrow batch as {topic} records: {message}")]
    Encode { topic: Topic, message: String },
}

/// Decodes framed records of a topic, of any registered version, into batches of the newest schema.
///
/// A record that does not decode fails the whole call: find it by decoding one at a time.
pub struct BatchDecoder {
    topic: Topic,
}

impl BatchDecoder {
    pub fn new(topic: Topic) -> Self {
        Self { topic }
    }

    /// The Arrow schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        without_metadata(&self.decoder(1).map(|decoder| decoder.schema()).expect("our schemas convert: tested"))
    }

    /// Decodes `records`, framed, into one batch with a row for each, in order.
    ///
    /// # Errors
    /// [`ArrowCodecError::Decode`] when any of the records is damaged or of another topic.
    pub fn decode<B: AsRef<[u8]>>(&self, records: &[B]) -> Result<RecordBatch, ArrowCodecError> {
        if records.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema()));
        }
        let mut decoder = self.decoder(records.len())?;
        for record in records {
            let record = record.as_ref();
            let used = decoder.decode(record).map_err(|error| self.error(error))?;
            if used != record.len() {
                return Err(self.error(format!("{} bytes follow the record", record.len() - used)));
            }
        }
        let batch = decoder.flush().map_err(|error| self.error(error))?;
        let batch = batch.ok_or_else(|| self.error("the records are empty"))?;
        if batch.num_rows() != records.len() {
            return Err(self.error(format!("{} records gave {} rows", records.len(), batch.num_rows())));
        }
        let schema = without_metadata(&batch.schema());
        batch.with_schema(schema).map_err(|error| self.error(error))
    }

    fn decoder(&self, capacity: usize) -> Result<Decoder, ArrowCodecError> {
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        for version in registry::versions(self.topic) {
            store
                .set(Fingerprint::Id(version.id), AvroSchema::new(version.text.to_owned()))
                .map_err(|error| self.error(error))?;
        }
        let newest = registry::newest(self.topic);
        ReaderBuilder::new()
            .with_batch_size(capacity)
            .with_reader_schema(AvroSchema::new(newest.text.to_owned()))
            .with_writer_schema_store(store)
            .with_active_fingerprint(Fingerprint::Id(newest.id))
            .build_decoder()
            .map_err(|error| self.error(error))
    }

    fn error(&self, message: impl ToString) -> ArrowCodecError {
        ArrowCodecError::Decode { topic: self.topic, message: message.to_string() }
    }
}

/// Drops what the Avro reader notes on schema and fields, so that batches from both sides compare equal.
fn without_metadata(schema: &ArrowSchema) -> SchemaRef {
    let fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default())).collect();
    Arc::new(ArrowSchema::new(fields))
}

/// Encodes a batch whose columns have the names of the topic's fields (in any order) as framed records.
///
/// # Errors
/// [`ArrowCodecError::Encode`] when a column is missing or has a type or a null that the schema does not take.
pub fn encode_batch(topic: Topic, batch: &RecordBatch) -> Result<Vec<Bytes>, ArrowCodecError> {
    let error = |message: String| ArrowCodecError::Encode { topic, message };
    let wanted = BatchDecoder::new(topic).schema();
    let mut columns = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        let column =
            batch.column_by_name(field.name()).ok_or_else(|| error(format!("no column '{}'", field.name())))?;
        let column = ::arrow::compute::cast(column, field.data_type()).map_err(|e| error(e.to_string()))?;
        columns.push(column);
    }
    let registered = registry::newest(topic);
    let metadata = [(SCHEMA_METADATA_KEY.to_owned(), registered.text.to_owned())].into();
    let schema = ArrowSchema::new_with_metadata(wanted.fields().clone(), metadata);
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), columns).map_err(|e| error(e.to_string()))?;
    let mut encoder =
        WriterBuilder::new(schema).build_encoder::<AvroBinaryFormat>().map_err(|e| error(e.to_string()))?;
    encoder.encode(&batch).map_err(|e| error(e.to_string()))?;
    let header = codec::header(registered.id);
    Ok(encoder.flush().iter().map(|datum| [&header[..], &datum[..]].concat().into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MailboxChange, decode, encode};

    fn change(n: i64) -> MailboxChange {
        MailboxChange {
            kind: MailboxChange::DELIVERED.into(),
            account_id: format!("account-{n}"),
            email_id: n.to_string(),
            changed_at_us: n,
            size_bytes: (n % 2 == 0).then_some(n),
            summary: Some("한국어".into()),
            ..MailboxChange::default()
        }
    }

    #[test]
    fn a_batch_holds_what_the_records_said_and_encodes_back() {
        let records: Vec<_> = (0..5).map(|n| encode(&change(n)).unwrap()).collect();
        let batch = BatchDecoder::new(Topic::MailboxChanges).decode(&records).unwrap();
        assert_eq!(batch.num_rows(), 5);
        let again = encode_batch(Topic::MailboxChanges, &batch).unwrap();
        for (n, framed) in again.iter().enumerate() {
            assert_eq!(decode::<MailboxChange>(framed).unwrap(), change(n as i64));
        }
    }

    #[test]
    fn every_topic_converts_both_ways() {
        for topic in Topic::ALL {
            let empty = BatchDecoder::new(topic).decode::<Bytes>(&[]).unwrap();
            assert_eq!(encode_batch(topic, &empty).unwrap().len(), 0);
        }
    }

    #[test]
    fn a_damaged_record_fails_the_batch_without_a_panic() {
        let good = encode(&change(1)).unwrap();
        let cut = good.slice(..good.len() - 3);
        assert!(BatchDecoder::new(Topic::MailboxChanges).decode(&[good.clone(), cut]).is_err());
        assert!(BatchDecoder::new(Topic::Reception).decode(&[good]).is_err());
    }
}
