//! The consumer groups of the roles: what each topic is processed by.

use millrace_query::mail::{LANDER_GROUP, search};
use millrace_query::tables::Table;
use millrace_schemas::Topic;

use super::role::RECEPTION_PIPELINE;

/// A group and the topic that it consumes.
pub type Group = (String, Topic);

/// Of the role `pipelines`, or of Arroyo in its place.
pub fn of_pipelines() -> Vec<Group> {
    vec![(RECEPTION_PIPELINE.to_owned(), Topic::Reception)]
}

/// Of the role `lander`.
pub fn of_lander() -> Vec<Group> {
    let events = [Table::Reception, Table::Screened, Table::Delivery, Table::DeadLetter];
    let mut groups: Vec<Group> = events.map(|table| (format!("lander.{table}"), table.topic())).into();
    groups.extend([LANDER_GROUP, search::GROUP].map(|name| (name.to_owned(), Topic::MailboxChanges)));
    groups
}

/// Of all roles: a record that one of them has not processed must stay in the log.
pub fn all() -> Vec<Group> {
    [of_pipelines(), of_lander()].concat()
}
