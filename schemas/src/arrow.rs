//! Many records at once: framed Avro straight to and from Arrow batches, for the hot paths.

use std::sync::Arc;

use ::arrow::array::new_null_array;
use ::arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use ::arrow::record_batch::RecordBatch;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SCHEMA_METADATA_KEY, SchemaStore};
use arrow_avro::writer::{WriterBuilder, format::AvroBinaryFormat};
use bytes::Bytes;

use crate::registry::Registered;
use crate::{CodecError, Topic, codec, registry};

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
        without_metadata(
            &self
                .decoder(registry::newest(self.topic), 1)
                .map(|decoder| decoder.schema())
                .expect("our schemas convert: tested"),
        )
    }

    /// Decodes `records`, framed, into one batch with a row for each, in order.
    ///
    /// # Errors
    /// [`ArrowCodecError::Decode`] when any of the records is damaged or of another topic.
    pub fn decode<B: AsRef<[u8]>>(&self, records: &[B]) -> Result<RecordBatch, ArrowCodecError> {
        // By the schema that they were written with: nearly always one.
        let mut written: Vec<(u32, Vec<&[u8]>)> = Vec::new();
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let record = record.as_ref();
            let (id, _) = codec::split_header(record).map_err(|error| self.error(error))?;
            let at = written.iter().rposition(|(known, _)| *known == id).unwrap_or(written.len());
            if at == written.len() {
                written.push((id, Vec::new()));
            }
            rows.push((at, written[at].1.len()));
            written[at].1.push(record);
        }
        let batches = written.iter().map(|(id, records)| self.decode_written(*id, records));
        let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>()?;
        match &batches[..] {
            [] => Ok(RecordBatch::new_empty(self.schema())),
            [batch] => Ok(batch.clone()),
            batches => {
                let batches: Vec<&RecordBatch> = batches.iter().collect();
                ::arrow::compute::interleave_record_batch(&batches, &rows).map_err(|error| self.error(error))
            }
        }
    }

    /// Records that were all written with schema `id`.
    fn decode_written(&self, id: u32, records: &[&[u8]]) -> Result<RecordBatch, ArrowCodecError> {
        let writer = registry::by_id(id).ok_or_else(|| self.error(CodecError::UnknownSchema(id)))?;
        if writer.subject != self.topic.subject() {
            let (found, wanted) = (writer.subject.clone(), self.topic.subject());
            return Err(self.error(CodecError::WrongSubject { id, found, wanted }));
        }
        let mut decoder = self.decoder(writer, records.len())?;
        for record in records {
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
        if writer.id == registry::newest(self.topic).id {
            let schema = without_metadata(&batch.schema());
            return batch.with_schema(schema).map_err(|error| self.error(error));
        }
        // What is nullable there and not here has no null.
        RecordBatch::try_new(self.schema(), batch.columns().to_vec()).map_err(|error| self.error(error))
    }

    fn decoder(&self, writer: &Registered, capacity: usize) -> Result<Decoder, ArrowCodecError> {
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        let fingerprint = Fingerprint::Id(writer.id);
        store.set(fingerprint, AvroSchema::new(writer.named_text.to_owned())).map_err(|error| self.error(error))?;
        let newest = registry::newest(self.topic);
        ReaderBuilder::new()
            .with_batch_size(capacity)
            .with_reader_schema(AvroSchema::new(newest.text.to_owned()))
            .with_writer_schema_store(store)
            .with_active_fingerprint(fingerprint)
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

/// Encodes a batch whose columns have the names of the topic's fields (in any order) as framed records. What may be null
/// and has no column is null.
///
/// # Errors
/// [`ArrowCodecError::Encode`] when any other column is missing, or one has a type or a null that the schema does not take.
pub fn encode_batch(topic: Topic, batch: &RecordBatch) -> Result<Vec<Bytes>, ArrowCodecError> {
    let error = |message: String| ArrowCodecError::Encode { topic, message };
    let wanted = BatchDecoder::new(topic).schema();
    let mut columns = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        let column = match batch.column_by_name(field.name()) {
            Some(column) => ::arrow::compute::cast(column, field.data_type()).map_err(|e| error(e.to_string()))?,
            None if field.is_nullable() => new_null_array(field.data_type(), batch.num_rows()),
            None => return Err(error(format!("no column '{}'", field.name()))),
        };
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

    /// As Arroyo writes `mailbox.changes`: another name, other places of the fields, most of them nullable, one of its own.
    const ARROYO: &str = r#"{"name":"ArroyoAvro","type":"record","fields":[
        {"name":"account_id","type":["null","string"]},{"name":"kind","type":"string"},
        {"name":"email_id","type":["null","string"]},{"name":"changed_at_us","type":["null","long"]},
        {"name":"tags","type":{"type":"array","items":["null","string"]}},
        {"name":"size_bytes","type":["null","int"]},{"name":"summary","type":["string","null"]}]}"#;

    fn registered() -> &'static Registered {
        let topic = Topic::MailboxChanges;
        let id = i64::from(crate::Registrations::default().id_for(topic, ARROYO));
        let entry = crate::SchemaEntry { id, subject: topic.subject(), schema: ARROYO.into(), ..Default::default() };
        registry::learn(&entry).unwrap()
    }

    fn written_by_arroyo(change: &MailboxChange, account_id: Option<&str>) -> Bytes {
        use apache_avro::types::{Record, Value};
        let text = |text: &str| Value::String(text.to_owned());
        let some = |value: Value| Value::Union(1, Box::new(value));
        let none = || Value::Union(0, Box::new(Value::Null));
        let mut record = Record::new(&registered().schema).unwrap();
        record.put("account_id", account_id.map_or_else(none, |id| some(text(id))));
        record.put("kind", text(&change.kind));
        record.put("email_id", some(text(&change.email_id)));
        record.put("changed_at_us", some(Value::Long(change.changed_at_us)));
        record.put("tags", Value::Array(vec![some(text("a")), none()]));
        record.put("size_bytes", change.size_bytes.map_or_else(none, |size| some(Value::Int(size as i32))));
        let summary = change.summary.as_deref().map(|summary| Value::Union(0, Box::new(text(summary))));
        record.put("summary", summary.unwrap_or(Value::Union(1, Box::new(Value::Null))));
        let datum = apache_avro::to_avro_datum(&registered().schema, record).unwrap();
        [&codec::header(registered().id)[..], &datum].concat().into()
    }

    #[test]
    fn records_of_a_registered_writer_stand_beside_ours() {
        let newest = &registry::newest(Topic::MailboxChanges).schema;
        assert_eq!(crate::resolve::differences(&registered().schema, newest), Vec::<String>::new());
        let changes: Vec<_> = (0..6).map(change).collect();
        let written = changes.iter().enumerate().map(|(n, change)| match n % 3 {
            0 => encode(change).unwrap(),
            _ => written_by_arroyo(change, Some(&change.account_id)),
        });
        let records: Vec<_> = written.collect();
        assert_eq!(decode::<MailboxChange>(&records[1]).unwrap(), changes[1]);
        let batch = BatchDecoder::new(Topic::MailboxChanges).decode(&records).unwrap();
        assert_eq!(batch.schema(), BatchDecoder::new(Topic::MailboxChanges).schema());
        let read: Vec<_> = crate::decode_changes(&records).into_iter().map(Result::unwrap).collect();
        assert_eq!(read, changes);
        let again = encode_batch(Topic::MailboxChanges, &batch).unwrap();
        assert_eq!(again[4], encode(&changes[4]).unwrap());
    }

    #[test]
    fn a_null_where_we_have_none_makes_its_record_unreadable_and_no_other() {
        let (good, bad) = (written_by_arroyo(&change(1), Some("account-1")), written_by_arroyo(&change(1), None));
        assert!(decode::<MailboxChange>(&bad).is_err());
        assert!(BatchDecoder::new(Topic::MailboxChanges).decode(&[&bad]).is_err());
        let read = crate::decode_changes(&[good, bad]);
        assert_eq!(read[0].as_ref().unwrap(), &change(1));
        assert!(read[1].is_err());
    }

    #[test]
    fn arrays_of_a_registered_writer_are_read() {
        // As Arroyo declares TEXT[].
        let newest = registry::newest(Topic::Screened);
        let text = newest.schema.canonical_form().replace("millrace.Screened", "ArroyoAvro");
        let text = text.replace(r#""items":"string""#, r#""items":["null","string"]"#);
        let entry = crate::SchemaEntry {
            id: crate::Registrations::default().id_for(Topic::Screened, &text).into(),
            subject: Topic::Screened.subject(),
            schema: text,
            ..Default::default()
        };
        let registered = registry::learn(&entry).unwrap();
        let fields = newest.schema.canonical_form();
        let mut record = apache_avro::types::Record::new(&registered.schema).unwrap();
        let apache_avro::Schema::Record(schema) = &registered.schema else { panic!("{fields}") };
        for field in &schema.fields {
            use apache_avro::types::Value;
            let item = |text: &str| Value::Union(1, Box::new(Value::String(text.into())));
            match (&field.schema, field.name.as_str()) {
                (_, "forward_path") => record.put("forward_path", Value::Array(vec![item("a"), item("b")])),
                (apache_avro::Schema::Long, name) => record.put(name, Value::Long(7)),
                (apache_avro::Schema::String, name) => record.put(name, Value::String(name.into())),
                (_, name) => record.put(name, Value::Union(0, Box::new(Value::Null))),
            }
        }
        let datum = apache_avro::to_avro_datum(&registered.schema, record).unwrap();
        let framed: Bytes = [&codec::header(registered.id)[..], &datum].concat().into();
        let one = decode::<crate::Screened>(&framed).unwrap();
        assert_eq!((one.forward_path.clone(), one.size_bytes), (vec!["a".to_owned(), "b".to_owned()], 7));
        let batch = BatchDecoder::new(Topic::Screened).decode(&[framed.clone(), framed]).unwrap();
        assert_eq!(encode_batch(Topic::Screened, &batch).unwrap()[1], encode(&one).unwrap());
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
