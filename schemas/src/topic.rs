//! The topics, their names, and how a key finds its partition.

use std::fmt;
use std::str::FromStr;

/// A topic of the log. Its schema and its table have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Reception,
    Screened,
    MailboxChanges,
    Delivery,
    DeadLetter,
    Directory,
    Schemas,
}

impl Topic {
    pub const ALL: [Topic; 7] = [
        Topic::Reception,
        Topic::Screened,
        Topic::MailboxChanges,
        Topic::Delivery,
        Topic::DeadLetter,
        Topic::Directory,
        Topic::Schemas,
    ];

    /// How many offsets before the record that it is at a reader may still look back; a log keeps them. Whether a change
    /// of mail holds is decided by those of its account before it.
    pub const fn look_back(self) -> u64 {
        match self {
            Topic::MailboxChanges => 10_000,
            _ => 0,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Topic::Reception => "mail.reception",
            Topic::Screened => "mail.screened",
            Topic::MailboxChanges => "mailbox.changes",
            Topic::Delivery => "mail.delivery",
            Topic::DeadLetter => "mail.dead-letter",
            Topic::Directory => "directory",
            Topic::Schemas => "schemas",
        }
    }

    /// The column that is the record's key.
    pub const fn key_field(self) -> &'static str {
        match self {
            Topic::Reception | Topic::Screened | Topic::Delivery => "message_id",
            Topic::MailboxChanges => "account_id",
            Topic::DeadLetter => "stage",
            Topic::Directory => "name",
            Topic::Schemas => "entry_id",
        }
    }

    /// Whether only the newest record of a key is kept, and that for ever. Such a topic has one partition.
    pub const fn is_compacted(self) -> bool {
        matches!(self, Topic::Directory | Topic::Schemas)
    }

    /// The registry's subject for the values of this topic.
    pub fn subject(self) -> String {
        format!("{}-value", self.name())
    }

    /// The topic whose values have this subject.
    pub fn of_subject(subject: &str) -> Option<Self> {
        subject.strip_suffix("-value")?.parse().ok()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "no topic is named '{0}'; the topics are mail.reception, mail.screened, mailbox.changes, mail.delivery, mail.dead-letter, directory and schemas"
)]
pub struct UnknownTopic(pub String);

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(name: &str) -> Result<Self, UnknownTopic> {
        Topic::ALL.into_iter().find(|topic| topic.name() == name).ok_or_else(|| UnknownTopic(name.to_owned()))
    }
}

/// The partition of a key: CRC-32 modulo the number of partitions, which is what librdkafka's
/// `consistent` partitioner does, so that every producer of a cluster agrees.
///
/// # Panics
/// When `partitions` is zero.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    crc32fast::hash(key.as_bytes()) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for topic in Topic::ALL {
            assert_eq!(topic.name().parse(), Ok(topic));
            assert_eq!(Topic::of_subject(&topic.subject()), Some(topic));
        }
        assert!("mail.nothing".parse::<Topic>().is_err());
    }

    #[test]
    fn partition_is_the_crc32_of_librdkafka() {
        assert_eq!(partition_of("123456789", u32::MAX), 0xcbf4_3926, "the check value of CRC-32");
    }
}
