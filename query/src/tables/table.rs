//! The tables and the topics that land in them.

use std::fmt;

use millrace_schemas::Topic;

/// A table of the namespace `mail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Every message taken in.
    Reception,
    /// Every verdict.
    Screened,
    /// What became of each message for each recipient.
    Delivery,
    /// Records that a stage could not process.
    DeadLetter,
    /// The immutable facts of each delivered email.
    Emails,
    /// Versions of what can change about an email; the highest `seq` holds.
    EmailState,
}

impl Table {
    pub const ALL: [Table; 6] =
        [Table::Reception, Table::Screened, Table::Delivery, Table::DeadLetter, Table::Emails, Table::EmailState];

    /// The name in SQL and in the catalog.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Reception => "reception",
            Table::Screened => "screened",
            Table::Delivery => "delivery",
            Table::DeadLetter => "dead_letter",
            Table::Emails => "emails",
            Table::EmailState => "email_state",
        }
    }

    /// The table with this name.
    pub(super) fn of_name(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The topic whose records land here.
    pub const fn topic(self) -> Topic {
        match self {
            Table::Reception => Topic::Reception,
            Table::Screened => Topic::Screened,
            Table::Delivery => Topic::Delivery,
            Table::DeadLetter => Topic::DeadLetter,
            Table::Emails | Table::EmailState => Topic::MailboxChanges,
        }
    }

    /// Whether each record of the topic is one row, as opposed to a row of an account's mail.
    pub const fn is_event(self) -> bool {
        !matches!(self, Table::Emails | Table::EmailState)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
