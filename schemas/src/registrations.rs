//! The writer schemas that others have registered, as the topic `schemas` has them.
//!
//! Whoever registers appends an entry that asks for an id, and reads the topic up to it. Which entries hold follows from
//! their order and their text alone, never from what a version of this program makes of a schema: so all processes agree
//! on every id without asking one another, and go on agreeing while versions differ.
//!
//! The id that is asked for is made of the schema itself. So two clusters, or one that has lost its log, give the same
//! schema the same id, and records copied from one to the other keep their meaning.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::registry::{FIRST_REGISTERED_ID, LearnError, Registered, learn, registrable, versions};
use crate::{SchemaEntry, Topic};

/// Ids there are.
const IDS: u32 = i32::MAX as u32 - FIRST_REGISTERED_ID + 1;

/// All entries of the topic that hold, up to some offset.
#[derive(Default)]
pub struct Registrations {
    by_id: BTreeMap<u32, &'static Registered>,
    /// Also of entries that we cannot make anything of.
    taken: HashSet<u32>,
    ids: HashMap<(String, String), u32>,
}

impl Registrations {
    /// Makes an entry hold, unless its id or its schema has been given before; then it is void. Entries come in the order
    /// of the topic.
    ///
    /// # Errors
    /// [`LearnError`] when an entry holds and its schema cannot be used here: its id is taken all the same.
    pub fn apply(&mut self, entry: &SchemaEntry) -> Result<(), LearnError> {
        let id = registrable(entry.id).ok_or(LearnError::Id(entry.id))?;
        let schema = (entry.subject.clone(), entry.schema.clone());
        if self.taken.contains(&id) || self.ids.contains_key(&schema) {
            return Ok(());
        }
        self.taken.insert(id);
        self.ids.insert(schema, id);
        self.by_id.insert(id, learn(entry)?);
        Ok(())
    }

    pub fn by_id(&self, id: u32) -> Option<&'static Registered> {
        self.by_id.get(&id).copied()
    }

    /// The schema of a topic with this canonical form, be it one of ours.
    pub fn find(&self, topic: Topic, canonical: &str) -> Option<&'static Registered> {
        if let Some(ours) = versions(topic).into_iter().find(|ours| ours.schema.canonical_form() == canonical) {
            return Some(ours);
        }
        self.by_id(*self.ids.get(&(topic.subject(), canonical.to_owned()))?)
    }

    /// What others have registered for a topic, by id.
    pub fn of(&self, topic: Topic) -> Vec<&'static Registered> {
        let subject = topic.subject();
        self.by_id.values().copied().filter(|registered| registered.subject == subject).collect()
    }

    /// The id to ask for: the schema's own, or the next that is free.
    pub fn id_for(&self, topic: Topic, canonical: &str) -> u32 {
        let own = crc32fast::hash(format!("{} {canonical}", topic.subject()).as_bytes()) % IDS;
        let ids = (0..IDS).map(|step| FIRST_REGISTERED_ID + (own + step) % IDS);
        ids.into_iter().find(|id| !self.taken.contains(id)).unwrap_or(FIRST_REGISTERED_ID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{by_id, newest};

    const TOPIC: Topic = Topic::DeadLetter;

    /// Distinct by `name`.
    fn schema(name: &str) -> String {
        format!(r#"{{"name":"{name}","type":"record","fields":[{{"name":"stage","type":"string"}}]}}"#)
    }

    fn entry(id: u32, schema: &str) -> SchemaEntry {
        SchemaEntry { id: id.into(), subject: TOPIC.subject(), schema: schema.into(), ..SchemaEntry::default() }
    }

    #[test]
    fn the_first_who_asks_gets_the_id_and_the_same_schema_keeps_it() {
        let (one, other) = (schema("RegistrationsOne"), schema("RegistrationsOther"));
        let mut registrations = Registrations::default();
        let id = registrations.id_for(TOPIC, &one);
        registrations.apply(&entry(id, &one)).unwrap();
        registrations.apply(&entry(id, &other)).unwrap();
        registrations.apply(&entry(id + 1, &one)).unwrap();
        assert_eq!(registrations.find(TOPIC, &one).unwrap().id, id);
        assert!(registrations.find(TOPIC, &other).is_none() && registrations.by_id(id + 1).is_none());
        registrations.apply(&entry(id + 1, &other)).unwrap();
        assert_eq!(registrations.find(TOPIC, &other).unwrap().id, id + 1);
        assert_eq!(registrations.of(TOPIC).iter().map(|registered| registered.id).collect::<Vec<_>>(), [id, id + 1]);
        assert_eq!(by_id(id).unwrap().text, one, "decoders know it");
    }

    #[test]
    fn an_id_that_is_taken_leads_to_the_next_and_is_in_range() {
        let one = schema("RegistrationsNext");
        let mut registrations = Registrations::default();
        let id = registrations.id_for(TOPIC, &one);
        assert!(registrable(id.into()).is_some());
        registrations.taken.insert(id);
        assert_eq!(registrations.id_for(TOPIC, &one), id + 1);
        assert_eq!(Registrations::default().id_for(TOPIC, &one), id, "the same in every cluster");
    }

    #[test]
    fn one_of_ours_is_found_and_its_ids_are_not_given() {
        let mut registrations = Registrations::default();
        let ours = newest(TOPIC);
        assert_eq!(registrations.find(TOPIC, &ours.schema.canonical_form()).unwrap().id, ours.id);
        assert!(matches!(registrations.apply(&entry(ours.id, &schema("A"))), Err(LearnError::Id(_))));
    }

    #[test]
    fn what_cannot_be_used_here_still_takes_its_id() {
        let mut registrations = Registrations::default();
        let id = FIRST_REGISTERED_ID + 77;
        assert!(registrations.apply(&entry(id, "of a newer version")).is_err());
        registrations.apply(&entry(id, &schema("RegistrationsLate"))).unwrap();
        assert!(registrations.by_id(id).is_none());
    }
}
