//! An account's mail: landing, the merged view, search.
//!
//! - [`summary`], [`version`], [`labels`]: what is known of an email
//! - [`apply`]: what a record of `mailbox.changes` makes of it
//! - [`conditions`]: which records hold only for a state, and do not
//! - [`lander`]: records to the hot store at once and to the tables a little later
//! - [`events`]: the other topics to their tables
//! - [`rows`], [`stored`]: versions and facts to and from the tables
//! - [`merged`]: tables and hot store together
//! - [`view`], [`counts`], [`changes`], [`cache`]: an account at one state
//! - [`mailboxes`], [`mod@change`]: what the API reads and changes mail through
//! - [`search`]: the text index
//! - [`fresh`]: rows that the tables do not have yet, for SQL

mod apply;
mod cache;
mod change;
mod changes;
mod conditions;
mod counts;
mod events;
mod fresh;
mod labels;
mod lander;
mod mailboxes;
mod merged;
mod rows;
pub mod search;
mod stored;
mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod version;
mod view;

pub use apply::{apply, update};
pub use change::{Applied, ChangeError, Rejected};
pub use changes::{CannotCalculate, Changes};
pub use counts::MailboxCounts;
pub use events::{EventLander, EventLanderOptions};
pub use fresh::FreshMail;
pub use labels::{DRAFT, Labels, ROLES, SEEN};
pub use lander::{GROUP as LANDER_GROUP, LandError, Lander, LanderOptions};
pub use mailboxes::{MailError, Mailboxes, MailboxesOptions};
pub use merged::MergeError;
pub use millrace_storage::hot::Changed;
pub use search::{Search, SearchError, SearchOptions, SharedOptions, TextQuery};
pub use stored::StoredError;
pub use summary::{Address, Attachment, Summary};
pub use version::{EmailVersion, Facts};
pub use view::AccountView;
