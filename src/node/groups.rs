//! The consumer groups of the roles: what each topic is processed by.

use anyhow::bail;
use millrace_pipelines::Pipeline;
use millrace_query::mail::{LANDER_GROUP, search};
use millrace_query::tables::Table;
use millrace_schemas::Topic;

/// A group and the topic that it consumes.
pub type Group = (String, Topic);

/// Of the role `pipelines`, or of Arroyo in its place.
pub fn of_pipelines(pipelines: &[Pipeline]) -> Vec<Group> {
    pipelines.iter().map(|pipeline| (pipeline.name().to_owned(), pipeline.source())).collect()
}

/// The pipeline that screens, which is its group: its position tells what has been screened.
///
/// # Errors
/// When mail would be screened by none, or more than once.
pub fn screening(pipelines: &[Pipeline]) -> anyhow::Result<&str> {
    let screens =
        |pipeline: &&Pipeline| pipeline.source() == Topic::Reception && pipeline.sinks().contains(&Topic::Screened);
    let mut found = pipelines.iter().filter(screens).map(Pipeline::name);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => bail!(
            "{one} and {other} both screen what {} has, so mail would be delivered twice; keep one of them in pipelines.dir",
            Topic::Reception
        ),
        (None, _) => bail!(
            "no file of pipelines.dir reads {} and writes {}, so mail would be taken and never delivered; put one there \
             that does, or leave the key out to run the one that is built in",
            Topic::Reception,
            Topic::Screened
        ),
    }
}

/// Of the role `lander`.
pub fn of_lander() -> Vec<Group> {
    let events = [Table::Reception, Table::Screened, Table::Delivery, Table::DeadLetter];
    let mut groups: Vec<Group> = events.map(|table| (format!("lander.{table}"), table.topic())).into();
    groups.extend([LANDER_GROUP, search::GROUP].map(|name| (name.to_owned(), Topic::MailboxChanges)));
    groups
}

/// Of all roles: a record that one of them has not processed must stay in the log.
pub fn all(pipelines: &[Pipeline]) -> Vec<Group> {
    [of_pipelines(pipelines), of_lander()].concat()
}
