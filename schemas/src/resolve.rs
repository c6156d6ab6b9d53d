//! Whether what a writer schema writes can be read as ours: Avro's schema resolution, where the record may have any name
//! (Arroyo calls all of its records `ArroyoAvro`), over the types that every reader gets right.
//!
//! A field may be nullable there and not here: streaming SQL calls most columns nullable, whatever is in them. Avro
//! resolves each datum by itself, so a null in such a field makes its record unreadable, and no other.

pub use apache_avro::Schema;
use apache_avro::schema::{ArraySchema, RecordSchema, UnionSchema};

/// No schema of ours comes near it.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// Why a text is no schema that a writer of records may have.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSchema {
    #[error("the schema has more than {MAX_SCHEMA_BYTES} bytes")]
    TooLong,
    #[error("this is no Avro schema: {0}")]
    NotAvro(Box<apache_avro::Error>),
    #[error("the schema is {0}, and records need a record")]
    NotRecord(&'static str),
}

/// Parses the schema of a record.
///
/// # Errors
/// [`InvalidSchema`] says what else it is.
pub fn parse(text: &str) -> Result<Schema, InvalidSchema> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(InvalidSchema::TooLong);
    }
    let schema = Schema::parse_str(text).map_err(|error| InvalidSchema::NotAvro(Box::new(error)))?;
    match schema {
        Schema::Record(_) => Ok(schema),
        other => Err(InvalidSchema::NotRecord(called(&other))),
    }
}

/// What keeps records of `writer` from being read as `reader`; none when they can be.
pub fn differences(writer: &Schema, reader: &Schema) -> Vec<String> {
    let (Schema::Record(writer), Schema::Record(reader)) = (writer, reader) else {
        return vec![format!("it is {}, and {} is needed", called(writer), called(reader))];
    };
    let read = reader.fields.iter().filter_map(|field| {
        let why = match find(writer, &field.name) {
            Some(written) => mismatch(written, &field.schema)?,
            None if field.default.is_some() => return None,
            None => "it is missing, and has no default".to_owned(),
        };
        Some(format!("field {}: {why}", field.name))
    });
    let passed_over = writer.fields.iter().filter(|field| find(reader, &field.name).is_none()).filter_map(|field| {
        let why = implausible(&field.schema)?;
        Some(format!("field {}: {why}", field.name))
    });
    read.chain(passed_over).collect()
}

fn find<'a>(record: &'a RecordSchema, name: &str) -> Option<&'a Schema> {
    record.fields.iter().find(|field| field.name == name).map(|field| &field.schema)
}

/// Why values of `writer` are none of `reader`.
fn mismatch(writer: &Schema, reader: &Schema) -> Option<String> {
    let wrong = || Some(format!("it is {}, and {} is needed", called(writer), called(reader)));
    match (writer, reader) {
        (Schema::Union(union), _) => match nullable(union) {
            Some(written) => mismatch(written, reader),
            None => implausible(writer),
        },
        (_, Schema::Union(union)) => nullable(union).map_or_else(wrong, |read| mismatch(writer, read)),
        (Schema::Array(ArraySchema { items: written, .. }), Schema::Array(ArraySchema { items: read, .. })) => {
            mismatch(written, read).map(|why| format!("its items: {why}"))
        }
        (Schema::Null | Schema::Boolean, _) if std::mem::discriminant(writer) == std::mem::discriminant(reader) => None,
        (Schema::String, Schema::String) => None,
        (Schema::Int, Schema::Int | Schema::Long | Schema::Float | Schema::Double) => None,
        (Schema::Long, Schema::Long | Schema::Float | Schema::Double) => None,
        (Schema::Float, Schema::Float | Schema::Double) | (Schema::Double, Schema::Double) => None,
        _ => wrong(),
    }
}

/// The type beside null, in a union of these two.
fn nullable(union: &UnionSchema) -> Option<&Schema> {
    match union.variants() {
        [Schema::Null, other] | [other, Schema::Null] => Some(other),
        _ => None,
    }
}

/// Why a type is none that every reader gets right, be it only to pass its values over.
fn implausible(schema: &Schema) -> Option<String> {
    match schema {
        Schema::Null | Schema::Boolean | Schema::String => None,
        Schema::Int | Schema::Long | Schema::Float | Schema::Double => None,
        Schema::Array(ArraySchema { items, .. }) => implausible(items),
        Schema::Union(union) => match nullable(union) {
            Some(other) => implausible(other),
            None => Some("a union is of null and one other type".to_owned()),
        },
        other => {
            let called = called(other);
            Some(format!("it is {called}; take strings, numbers, booleans, arrays and unions of these with null"))
        }
    }
}

fn called(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "a boolean",
        Schema::Int => "an int",
        Schema::Long => "a long",
        Schema::Float => "a float",
        Schema::Double => "a double",
        Schema::String => "a string",
        Schema::Bytes => "bytes",
        Schema::Array(_) => "an array",
        Schema::Map(_) => "a map",
        Schema::Union(union) => nullable(union).map_or("a union", called),
        Schema::Record(_) => "a record",
        Schema::Enum(_) => "an enum",
        Schema::Fixed(_) => "fixed",
        Schema::Ref { .. } => "a named type",
        _ => "a logical type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> Schema {
        parse(&format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)).unwrap()
    }

    fn of(written: &str, read: &str) -> Vec<String> {
        let field = |kind: &str| format!(r#"{{"name":"a","type":{kind}}}"#);
        differences(&record(&field(written)), &record(&field(read)))
    }

    #[test]
    fn what_avro_resolves_is_taken() {
        let nullable = |kind: &str| format!(r#"["null",{kind}]"#);
        let array = |kind: &str| format!(r#"{{"type":"array","items":{kind}}}"#);
        for (written, read) in [(r#""string""#, r#""string""#), (r#""int""#, r#""long""#), (r#""long""#, r#""double""#)]
        {
            assert!(of(written, read).is_empty());
            assert!(of(written, &nullable(read)).is_empty());
            assert!(of(&nullable(written), &nullable(read)).is_empty());
            assert!(of(&nullable(written), read).is_empty(), "each datum by itself");
            assert!(of(&array(&nullable(written)), &array(read)).is_empty());
        }
        assert!(of(r#"["string","null"]"#, r#"["null","string"]"#).is_empty());
    }

    #[test]
    fn what_differs_is_said_in_words() {
        assert_eq!(of(r#""string""#, r#""long""#), ["field a: it is a string, and a long is needed"]);
        assert_eq!(of(r#"["null","bytes"]"#, r#""string""#), ["field a: it is bytes, and a string is needed"]);
        let [items] = &of(r#"{"type":"array","items":"long"}"#, r#"{"type":"array","items":"string"}"#)[..] else {
            panic!("one difference")
        };
        assert_eq!(items, "field a: its items: it is a long, and a string is needed");
        assert_eq!(of(r#"["int","string"]"#, r#""long""#), ["field a: a union is of null and one other type"]);
    }

    #[test]
    fn fields_are_found_by_name_and_may_be_left_out_where_there_is_a_default() {
        let ours = record(r#"{"name":"a","type":"string"},{"name":"b","type":["null","long"],"default":null}"#);
        assert!(differences(&record(r#"{"name":"x","type":"int"},{"name":"a","type":"string"}"#), &ours).is_empty());
        let missing = differences(&record(r#"{"name":"b","type":"long"}"#), &ours);
        assert_eq!(missing, ["field a: it is missing, and has no default"]);
        let odd = differences(&record(r#"{"name":"a","type":"string"},{"name":"x","type":"bytes"}"#), &ours);
        assert!(odd[0].starts_with("field x: it is bytes; take strings"), "{odd:?}");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert!(matches!(parse("{"), Err(InvalidSchema::NotAvro(_))));
        assert!(matches!(parse(r#""string""#), Err(InvalidSchema::NotRecord("a string"))));
        assert!(matches!(parse(&" ".repeat(MAX_SCHEMA_BYTES + 1)), Err(InvalidSchema::TooLong)));
        let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(1_000), "}".repeat(1_000));
        assert!(matches!(parse(&deep), Err(InvalidSchema::NotAvro(_))));
    }
}
