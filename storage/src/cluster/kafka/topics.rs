//! The topics, made in one place: partitions, replicas and what is kept. Those that others have made, by hand or by a broker
//! that makes what it is asked for, are held to the same.

use std::collections::{BTreeMap, HashMap};

use millrace_schemas::Topic;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;

use super::options::{KafkaOptions, MAX_BATCH_BYTES, REQUEST_TIMEOUT, Telling};
use super::reach;
use crate::log::LogError;

/// Makes the topics that do not exist, and gives the number of partitions of each.
pub(super) async fn ensure(options: &KafkaOptions) -> Result<HashMap<Topic, u32>, LogError> {
    let cannot = |error: &dyn std::fmt::Display| {
        LogError::Unavailable(format!("the brokers at {} cannot be used: {error}", options.brokers))
    };
    let admin: AdminClient<Telling> = options.admin().create_with_context(Telling).map_err(|error| cannot(&error))?;
    let found = partitions(options).await?;
    let missing: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| !found.contains_key(topic)).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    let sizes = Sizes::of(options);
    let new: Vec<NewTopic<'_>> = missing.iter().map(|topic| sizes.topic(*topic)).collect();
    for made in admin.create_topics(&new, &request()).await.map_err(|error| cannot(&error))? {
        match made {
            Ok(topic) => tracing::info!(topic, "made a topic"),
            // Another process was there first.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => return Err(cannot(&format!("the topic {topic} cannot be made: {error}"))),
        }
    }
    // Brokers learn of a new topic one after the other.
    for _ in 0..100 {
        let found = partitions(options).await?;
        if found.len() == Topic::ALL.len() {
            return Ok(found);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(cannot(&"new topics do not appear"))
}

/// What Kafka's options say as text.
struct Sizes {
    partitions: i32,
    replicas: i32,
    min_insync_replicas: String,
    max_batch_bytes: String,
}

impl Sizes {
    fn of(options: &KafkaOptions) -> Self {
        let replicas = options.replication_factor.max(1) as i32;
        // With three replicas one broker may be away: two still hold every record that was acknowledged.
        let min_insync_replicas = (replicas - 1).max(1).to_string();
        let max_batch_bytes = MAX_BATCH_BYTES.to_string();
        Self { partitions: options.partitions.max(1) as i32, replicas, min_insync_replicas, max_batch_bytes }
    }

    fn partitions(&self, topic: Topic) -> i32 {
        if topic.is_compacted() { 1 } else { self.partitions }
    }

    fn topic(&self, topic: Topic) -> NewTopic<'_> {
        let new = NewTopic::new(topic.name(), self.partitions(topic), TopicReplication::Fixed(self.replicas));
        self.settings(topic).into_iter().fold(new, |new, Setting { name, value, .. }| new.set(name, value))
    }

    fn settings(&self, topic: Topic) -> Vec<Setting<'_>> {
        let setting = |name, value, otherwise| Setting { name, value, otherwise };
        let mut settings = vec![
            setting("min.insync.replicas", &self.min_insync_replicas, "what fewer brokers have counts as written"),
            setting("max.message.bytes", &self.max_batch_bytes, "large records are refused again and again"),
            // The log's own clock: readers compare it with one another's.
            setting("message.timestamp.type", "LogAppendTime", "clocks of processes decide what is old"),
            setting("unclean.leader.election.enable", "false", "what was written is lost with a broker"),
        ];
        if topic.is_compacted() {
            settings.push(setting("cleanup.policy", "compact", "what is still needed is deleted"));
        } else {
            // What goes, goes by `enforce_retention`, which knows what has been processed.
            let lost = "what nobody has processed yet is deleted";
            settings.push(setting("cleanup.policy", "delete", lost));
            settings.push(setting("retention.ms", "-1", lost));
            settings.push(setting("retention.bytes", "-1", lost));
        }
        settings
    }
}

/// A setting of a topic.
struct Setting<'a> {
    name: &'static str,
    value: &'a str,
    /// What happens with another value.
    otherwise: &'static str,
}

impl Setting<'_> {
    fn is_met_by(&self, found: &str) -> bool {
        match (self.name, found.parse::<u32>(), self.value.parse()) {
            ("min.insync.replicas" | "max.message.bytes", Ok(found), Ok(least)) => found >= least,
            _ => found == self.value,
        }
    }
}

/// Holds the topics that exist to what they would be made with. Gives what may stay as it is.
///
/// # Errors
/// Of which topics records would be lost, and what to do about it.
pub(super) async fn hold(options: &KafkaOptions) -> Result<Vec<String>, LogError> {
    let metadata = reach::metadata(options).await?;
    let (settings, mut told) = match settings(options).await {
        Ok(settings) => (settings, Vec::new()),
        Err(reason) => {
            (HashMap::new(), vec![format!("settings of topics are not told ({reason}): see docs/cluster.md")])
        }
    };
    let (sizes, mut wrong) = (Sizes::of(options), Differences::default());
    for found in metadata.topics() {
        let Ok(topic) = found.name().parse() else { continue };
        let replicas = found.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
        if replicas < sizes.replicas as usize {
            wrong.add(topic, too_few_replicas(replicas, &sizes, options));
        }
        let (partitions, wanted) = (found.partitions().len(), sizes.partitions(topic));
        if partitions != wanted as usize {
            told.push(other_partitions(topic, partitions, wanted));
        }
        for different in settings.get(&topic).into_iter().flat_map(|found| differences(topic, found, &sizes, options)) {
            wrong.add(topic, different);
        }
    }
    if wrong.0.is_empty() { Ok(told) } else { Err(LogError::Unavailable(wrong.to_string())) }
}

fn too_few_replicas(replicas: usize, sizes: &Sizes, options: &KafkaOptions) -> String {
    format!(
        "{replicas} replica(s) where kafka.replication_factor is {}, so that a broker that is lost takes mail with it; give \
         each {} with kafka-reassign-partitions --bootstrap-server {}, or, while it is empty, remove it with kafka-topics \
         --delete and start anew",
        sizes.replicas, sizes.replicas, options.brokers
    )
}

/// Not raised afterwards: some of an account's changes would be in another partition than those before.
fn other_partitions(topic: Topic, partitions: usize, wanted: i32) -> String {
    if topic.is_compacted() {
        return format!("{topic} has {partitions} partitions, and is made with {wanted}");
    }
    format!("{topic} has {partitions} partition(s) and keeps them: set log.partitions to that, not to {wanted}")
}

/// Where a topic's settings are not what they should be, and what to do.
fn differences(topic: Topic, found: &HashMap<String, String>, sizes: &Sizes, options: &KafkaOptions) -> Vec<String> {
    let settings = sizes.settings(topic);
    let unmet = settings.iter().filter_map(|setting| {
        let value = found.get(setting.name).filter(|value| !setting.is_met_by(value))?;
        Some((setting, value))
    });
    let told = unmet.map(|(Setting { name, value: wanted, otherwise }, value)| {
        format!(
            "{name} is {value}, so that {otherwise}; set it with kafka-configs --bootstrap-server {} --alter --entity-type \
             topics --entity-name TOPIC --add-config {name}={wanted}",
            options.brokers
        )
    });
    told.collect()
}

/// What is wrong, with the topics of which it is.
#[derive(Default)]
struct Differences(BTreeMap<String, Vec<&'static str>>);

impl Differences {
    fn add(&mut self, topic: Topic, what: String) {
        self.0.entry(what).or_default().push(topic.name());
    }
}

impl std::fmt::Display for Differences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = self.0.iter().map(|(what, topics)| format!("{}: {what}", topics.join(", ")));
        f.write_str(&told.collect::<Vec<_>>().join(". "))
    }
}

/// The settings of our topics, or why they are not told.
async fn settings(options: &KafkaOptions) -> Result<HashMap<Topic, HashMap<String, String>>, String> {
    let admin: AdminClient<Telling> =
        options.admin().create_with_context(Telling).map_err(|error| error.to_string())?;
    let asked = Topic::ALL.map(|topic| ResourceSpecifier::Topic(topic.name()));
    let mut settings = HashMap::new();
    for told in admin.describe_configs(&asked, &request()).await.map_err(|error| error.to_string())? {
        let told = told.map_err(|error| error.to_string())?;
        let OwnedResourceSpecifier::Topic(name) = &told.specifier else { continue };
        let Ok(topic) = name.parse() else { continue };
        let values = told.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
        settings.insert(topic, values.collect());
    }
    Ok(settings)
}

fn request() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

/// The topics of ours that exist, with their partitions.
async fn partitions(options: &KafkaOptions) -> Result<HashMap<Topic, u32>, LogError> {
    let metadata = reach::metadata(options).await?;
    // A topic that was made a moment ago has no leaders yet, and cannot be read.
    let is_led = |topic: &&MetadataTopic| {
        topic.error().is_none() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
    };
    let ours = metadata.topics().iter().filter(is_led);
    Ok(ours.filter_map(|topic| Some((topic.name().parse().ok()?, topic.partitions().len() as u32))).collect())
}

/// Gives a topic the settings that it is made with, but for one.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) async fn alter(options: &KafkaOptions, topic: Topic, but: Option<(&str, &str)>) {
    use rdkafka::admin::AlterConfig;

    let admin: AdminClient<Telling> = options.admin().create_with_context(Telling).unwrap();
    let sizes = Sizes::of(options);
    let whole = AlterConfig::new(ResourceSpecifier::Topic(topic.name()));
    let whole = sizes.settings(topic).into_iter().fold(whole, |whole, setting| whole.set(setting.name, setting.value));
    let whole = but.into_iter().fold(whole, |whole, (name, value)| whole.set(name, value));
    for altered in admin.alter_configs(&[whole], &request()).await.unwrap() {
        altered.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> KafkaOptions {
        KafkaOptions { replication_factor: 3, ..KafkaOptions::new("broker:9092", "test") }
    }

    /// What a topic is made with, but for what is given.
    fn found(topic: Topic, but: &[(&str, &str)]) -> HashMap<String, String> {
        let sizes = Sizes::of(&options());
        let made = sizes.settings(topic).into_iter().map(|setting| (setting.name.to_owned(), setting.value.to_owned()));
        made.chain(but.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }

    fn told(topic: Topic, but: &[(&str, &str)]) -> Vec<String> {
        differences(topic, &found(topic, but), &Sizes::of(&options()), &options())
    }

    #[test]
    fn topics_as_they_are_made_or_stricter_pass() {
        for topic in Topic::ALL {
            assert_eq!(told(topic, &[]), Vec::<String>::new());
            assert_eq!(told(topic, &[("min.insync.replicas", "3")]), Vec::<String>::new());
        }
        let nothing = differences(Topic::Reception, &HashMap::new(), &Sizes::of(&options()), &options());
        assert_eq!(nothing, Vec::<String>::new(), "what is not told is not wrong");
    }

    #[test]
    fn settings_that_would_lose_records_are_told_with_the_command_that_mends_them() {
        for (topic, name, value, wanted) in [
            (Topic::Reception, "min.insync.replicas", "1", "2"),
            (Topic::Reception, "cleanup.policy", "compact", "delete"),
            (Topic::MailboxChanges, "retention.ms", "604800000", "-1"),
            (Topic::MailboxChanges, "retention.bytes", "1024", "-1"),
            (Topic::Directory, "cleanup.policy", "delete", "compact"),
            (Topic::Directory, "unclean.leader.election.enable", "true", "false"),
            (Topic::Schemas, "message.timestamp.type", "CreateTime", "LogAppendTime"),
        ] {
            let told = told(topic, &[(name, value)]);
            assert_eq!(told.len(), 1, "{told:?}");
            for part in [&format!("{name} is {value}"), "broker:9092", &format!("--add-config {name}={wanted}")] {
                assert!(told[0].contains(part), "{part}: {told:?}");
            }
        }
    }

    #[test]
    fn topics_of_which_the_same_is_wrong_are_told_together() {
        let mut wrong = Differences::default();
        let one = too_few_replicas(1, &Sizes::of(&options()), &options());
        wrong.add(Topic::Reception, one.clone());
        wrong.add(Topic::Directory, one);
        let told = wrong.to_string();
        assert!(
            told.starts_with("mail.reception, directory: 1 replica(s) where kafka.replication_factor is 3"),
            "{told}"
        );
        assert!(told.contains("kafka-reassign-partitions --bootstrap-server broker:9092"), "{told}");
    }

    #[test]
    fn other_partitions_are_told_and_stay() {
        assert!(other_partitions(Topic::Reception, 2, 4).contains("set log.partitions to that"));
        assert!(!other_partitions(Topic::Directory, 2, 1).contains("log.partitions"));
    }
}
