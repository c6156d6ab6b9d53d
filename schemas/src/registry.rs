//! Every schema version ever used and the registry id that it keeps for ever.
//!
//! `registry.json` lists ours; a line there is only ever added. The newest version of a subject is what we
//! write, and what older records are resolved to when they are read. Beside them stand the writer schemas that others
//! have registered, as far as this process has learnt of them ([`learn`]).

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use apache_avro::Schema;
use serde::Deserialize;
use serde_json::Value;

use crate::resolve::{InvalidSchema, parse};
use crate::{SchemaEntry, Topic};

/// Ids below are ours, for the lines of `registry.json`; what others register gets one from here on.
pub const FIRST_REGISTERED_ID: u32 = 1 << 16;

/// One line of `registry.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Registration {
    pub id: u32,
    pub subject: String,
    pub version: u32,
    pub file: String,
}

/// A registered schema: its id, its text and the parsed form.
#[derive(Debug)]
pub struct Registered {
    pub id: u32,
    pub subject: String,
    /// In its subject. One that others registered has its id for a version, so that it is in the way of none of ours.
    pub version: u32,
    pub text: &'static str,
    pub schema: Schema,
    /// The text with our record's name, for readers that hold names against one another.
    #[cfg_attr(not(feature = "arrow"), expect(dead_code))]
    pub(crate) named_text: &'static str,
}

macro_rules! schema_files {
    ($($file:literal),* $(,)?) => { &[$(($file, include_str!(concat!("../", $file)))),*] };
}

/// The texts, compiled in. A test holds this list against `registry.json`.
const FILES: &[(&str, &str)] = schema_files![
    "avro/mail.reception/v1.avsc",
    "avro/mail.screened/v1.avsc",
    "avro/mailbox.changes/v1.avsc",
    "avro/mailbox.changes/v2.avsc",
    "avro/mail.delivery/v1.avsc",
    "avro/mail.dead-letter/v1.avsc",
    "avro/directory/v1.avsc",
    "avro/schemas/v1.avsc",
];

static REGISTRY: LazyLock<HashMap<u32, Registered>> = LazyLock::new(|| {
    let lines: Vec<Registration> =
        serde_json::from_str(include_str!("../registry.json")).expect("registry.json is ours and tested");
    lines.into_iter().map(|line| (line.id, register(line))).collect()
});

fn register(line: Registration) -> Registered {
    let text = FILES
        .iter()
        .find(|(file, _)| *file == line.file)
        .map(|(_, text)| *text)
        .expect("every file of registry.json is compiled in: a test holds the two lists together");
    let schema = Schema::parse_str(text).expect("our schemas parse: a test reads them all");
    Registered { id: line.id, subject: line.subject, version: line.version, text, schema, named_text: text }
}

/// What others have registered. Whoever decodes a record has no log to look into, so it is kept for the whole process.
static LEARNT: LazyLock<RwLock<HashMap<u32, &'static Registered>>> = LazyLock::new(RwLock::default);

/// The schema with this id, or `None` when it was never registered, or this process has yet to learn of it.
pub fn by_id(id: u32) -> Option<&'static Registered> {
    if id < FIRST_REGISTERED_ID {
        return REGISTRY.get(&id);
    }
    LEARNT.read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
}

/// Why the schema of an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    #[error("{0} is none of our topics' subjects")]
    Subject(String),
    #[error("{0} is no id that others may have")]
    Id(i64),
    #[error(transparent)]
    Schema(#[from] InvalidSchema),
}

/// Lets every decoder of this process know the schema of an entry that holds ([`crate::Registrations`]). It is kept as
/// long as the process, since its id is kept for ever; there are few.
///
/// # Errors
/// [`LearnError`] for what a newer version of this program must have accepted.
pub fn learn(entry: &SchemaEntry) -> Result<&'static Registered, LearnError> {
    let topic = Topic::of_subject(&entry.subject).ok_or_else(|| LearnError::Subject(entry.subject.clone()))?;
    let id = registrable(entry.id).ok_or(LearnError::Id(entry.id))?;
    if let Some(known) = by_id(id)
        && known.subject == entry.subject
        && known.text == entry.schema
    {
        return Ok(known);
    }
    let schema = parse(&entry.schema)?;
    let registered: &Registered = Box::leak(Box::new(Registered {
        id,
        subject: entry.subject.clone(),
        version: id,
        text: entry.schema.clone().leak(),
        schema,
        named_text: named(&entry.schema, topic).leak(),
    }));
    LEARNT.write().unwrap_or_else(PoisonError::into_inner).insert(id, registered);
    Ok(registered)
}

/// An id that others may have. Java's clients keep ids in a signed integer.
pub(crate) fn registrable(id: i64) -> Option<u32> {
    u32::try_from(id).ok().filter(|id| (FIRST_REGISTERED_ID..=i32::MAX as u32).contains(id))
}

/// `text`, of a record, under the name of the topic's own record.
fn named(text: &str, topic: Topic) -> String {
    let Schema::Record(ours) = &newest(topic).schema else { return text.to_owned() };
    let Ok(Value::Object(mut record)) = serde_json::from_str(text) else { return text.to_owned() };
    record.insert("name".to_owned(), ours.name.fullname(None).into());
    record.remove("namespace");
    record.remove("aliases");
    Value::Object(record).to_string()
}

/// The newest schema of a topic: what we write.
pub fn newest(topic: Topic) -> &'static Registered {
    static NEWEST: LazyLock<HashMap<String, u32>> = LazyLock::new(|| {
        let mut newest: HashMap<String, &Registered> = HashMap::new();
        for registered in REGISTRY.values() {
            let held = newest.entry(registered.subject.clone()).or_insert(registered);
            if held.version < registered.version {
                *held = registered;
            }
        }
        newest.into_iter().map(|(subject, registered)| (subject, registered.id)).collect()
    });
    &REGISTRY[&NEWEST[&topic.subject()]]
}

/// All versions of a topic's schema, oldest first.
pub fn versions(topic: Topic) -> Vec<&'static Registered> {
    let subject = topic.subject();
    let mut found: Vec<_> = REGISTRY.values().filter(|registered| registered.subject == subject).collect();
    found.sort_by_key(|registered| registered.version);
    found
}

/// Whether the first version of a topic's schema has the field already.
pub fn first_has(topic: Topic, field: &str) -> bool {
    versions(topic).first().is_some_and(|first| match &first.schema {
        Schema::Record(record) => record.lookup.contains_key(field),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use apache_avro::schema_compatibility::SchemaCompatibility;

    use super::*;

    #[test]
    fn every_listed_file_is_compiled_in_and_ids_are_unique() {
        let lines: Vec<Registration> = serde_json::from_str(include_str!("../registry.json")).unwrap();
        let listed: HashSet<_> = lines.iter().map(|line| line.file.as_str()).collect();
        let compiled: HashSet<_> = FILES.iter().map(|(file, _)| *file).collect();
        assert_eq!(listed, compiled);
        assert_eq!(lines.iter().map(|line| line.id).collect::<HashSet<_>>().len(), lines.len());
        assert!(lines.iter().all(|line| line.id < FIRST_REGISTERED_ID));
    }

    #[test]
    fn the_newest_schema_reads_every_older_version_and_the_other_way_round() {
        for topic in Topic::ALL {
            let newest = newest(topic);
            for older in versions(topic) {
                SchemaCompatibility::can_read(&older.schema, &newest.schema)
                    .unwrap_or_else(|error| panic!("{topic} v{} is not readable today: {error}", older.version));
                SchemaCompatibility::can_read(&newest.schema, &older.schema).unwrap_or_else(|error| {
                    panic!("a reader of {topic} v{} cannot read today's: {error}", older.version)
                });
            }
        }
    }

    #[test]
    fn schemas_keep_to_what_every_reader_gets_right() {
        for topic in Topic::ALL {
            for version in versions(topic) {
                assert!(!version.text.contains("\"bytes\""), "{topic}: Arroyo's source panics on Avro bytes");
                assert!(!version.text.contains("logicalType"), "{topic}: times are longs with the unit in the name");
            }
        }
    }
}
