//! One record to and from bytes: Avro with Confluent framing (a zero byte, the schema id as four bytes
//! big-endian, the datum).

use std::io::Read;

use apache_avro::{from_avro_datum, from_value, write_avro_datum_ref};
use bytes::Bytes;

use crate::{AvroRecord, registry};

/// Length of the framing before the Avro datum.
pub const HEADER_BYTES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not begin with a zero byte and a schema id: they were not written by a Confluent producer.
    #[error("the record has no Confluent framing ({0} bytes)")]
    Unframed(usize),
    /// The schema id was never registered, or this process has not learnt of it.
    #[error("schema id {0} is not in the registry")]
    UnknownSchema(u32),
    /// The schema is known but belongs to another topic.
    #[error("schema id {id} is of {found}, not of {wanted}")]
    WrongSubject { id: u32, found: String, wanted: String },
    /// The datum ends too early or goes on after the record.
    #[error("the record is cut off, or bytes follow it")]
    Length,
    /// The datum does not match its schema.
    #[error("the record does not match its Avro schema: {0}")]
    Datum(#[from] Box<apache_avro::Error>),
}

/// The five bytes before a datum that was written with schema `id`.
pub fn header(id: u32) -> [u8; HEADER_BYTES] {
    let id = id.to_be_bytes();
    [0, id[0], id[1], id[2], id[3]]
}

/// Splits framed bytes into schema id and datum.
///
/// # Errors
/// [`CodecError::Unframed`] when the framing is missing.
pub fn split_header(framed: &[u8]) -> Result<(u32, &[u8]), CodecError> {
    match framed {
        [0, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        _ => Err(CodecError::Unframed(framed.len())),
    }
}

/// Encodes a record with its topic's newest schema.
///
/// # Errors
/// [`CodecError::Datum`] when the value does not fit the schema, which for our own types is a bug.
pub fn encode<R: AvroRecord>(record: &R) -> Result<Bytes, CodecError> {
    let registered = registry::newest(R::TOPIC);
    let mut framed = Vec::with_capacity(512);
    framed.extend_from_slice(&header(registered.id));
    write_avro_datum_ref(&registered.schema, record, &mut framed).map_err(Box::new)?;
    Ok(framed.into())
}

/// Notes when the decoder asks for more than there is: `apache-avro` takes a missing union for null.
struct Datum<'a> {
    rest: &'a [u8],
    is_overrun: bool,
}

impl Read for Datum<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.is_overrun |= buffer.len() > self.rest.len();
        self.rest.read(buffer)
    }
}

/// Decodes a framed record of any registered version of its topic.
///
/// # Errors
/// All of [`CodecError`]; the caller routes the record to the dead-letter topic.
pub fn decode<R: AvroRecord>(framed: &[u8]) -> Result<R, CodecError> {
    let (id, datum) = split_header(framed)?;
    let writer = registry::by_id(id).ok_or(CodecError::UnknownSchema(id))?;
    if writer.subject != R::TOPIC.subject() {
        return Err(CodecError::WrongSubject { id, found: writer.subject.clone(), wanted: R::TOPIC.subject() });
    }
    let reader = &registry::newest(R::TOPIC).schema;
    let mut datum = Datum { rest: datum, is_overrun: false };
    let value = from_avro_datum(&writer.schema, &mut datum, Some(reader)).map_err(Box::new)?;
    if datum.is_overrun || !datum.rest.is_empty() {
        return Err(CodecError::Length);
    }
    Ok(from_value(&value).map_err(Box::new)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeadLetter, MailboxChange};

    #[test]
    fn a_record_comes_back_as_it_was() {
        let change = MailboxChange {
            kind: MailboxChange::UPDATED.into(),
            account_id: "a".into(),
            email_id: "e".into(),
            changed_at_us: -5,
            patch: Some(r#"{"keywords":{"$seen":true}}"#.into()),
            ..MailboxChange::default()
        };
        let framed = encode(&change).unwrap();
        assert_eq!(framed[0], 0);
        assert_eq!(decode::<MailboxChange>(&framed).unwrap(), change);
    }

    #[test]
    fn a_record_of_another_topic_is_refused() {
        let framed = encode(&DeadLetter { stage: "s".into(), ..DeadLetter::default() }).unwrap();
        assert!(matches!(decode::<MailboxChange>(&framed), Err(CodecError::WrongSubject { .. })));
    }

    #[test]
    fn damaged_records_are_errors_and_never_panics() {
        let framed = encode(&DeadLetter { stage: "stage".into(), ..DeadLetter::default() }).unwrap();
        for end in 0..framed.len() {
            assert!(decode::<DeadLetter>(&framed[..end]).is_err(), "cut at {end}");
        }
        assert!(matches!(decode::<DeadLetter>(&[0, 0, 0, 99, 99, 1]), Err(CodecError::UnknownSchema(_))));
    }
}
