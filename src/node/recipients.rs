//! The directory and quotas, as reception asks for them at RCPT.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_directory::{Account, Directory, Resolution as Found};
use millrace_query::mail::Mailboxes;
use millrace_smtp::{Address, Recipients, Resolution, Unavailable};

/// Answers from the directory's view; an account with a quota is asked what it holds.
pub struct LocalRecipients {
    pub directory: Arc<Directory>,
    /// None where no lander runs: then nobody can tell what an account holds.
    pub mailboxes: Option<Arc<Mailboxes>>,
    /// Our name in SMTP.
    pub server_name: String,
}

#[async_trait]
impl Recipients for LocalRecipients {
    async fn resolve(&self, address: &Address, size_bytes: Option<u64>) -> Result<Resolution, Unavailable> {
        let mut found = self.look_up(address);
        if !matches!(found, Found::Accounts(_)) {
            // A refusal is final: another process may have added the account a moment ago.
            self.directory.be_up_to_date().await.map_err(|error| Unavailable(error.to_string()))?;
            found = self.look_up(address);
        }
        let accounts = match found {
            Found::Accounts(accounts) => accounts,
            Found::UnknownUser => return Ok(Resolution::UnknownUser),
            Found::NotLocal => return Ok(Resolution::NotLocal),
        };
        // All or none: a 250 for those with room would leave the others without a word.
        for account in &accounts {
            if !self.has_room(account, size_bytes).await? {
                return Ok(Resolution::OverQuota);
            }
        }
        Ok(Resolution::Accounts(accounts.iter().map(|account| account.id.clone()).collect()))
    }
}

impl LocalRecipients {
    fn look_up(&self, address: &Address) -> Found {
        // Quoted or not, it is the same mailbox (RFC 5321 section 4.1.2).
        let unquoted = format!("{}@{}", address.local_part(), address.domain());
        match self.directory.resolve(&unquoted) {
            Found::NotLocal if self.is_our_postmaster(address) => self.postmaster(),
            found => found,
        }
    }

    /// `<Postmaster>` without a domain, which comes with our own name (RFC 5321 section 4.5.1).
    fn is_our_postmaster(&self, address: &Address) -> bool {
        address.local_part().eq_ignore_ascii_case("postmaster")
            && address.domain().eq_ignore_ascii_case(&self.server_name)
    }

    /// The postmaster of the first domain that has one.
    fn postmaster(&self) -> Found {
        let domains = self.directory.domains();
        let mut found = domains.iter().map(|domain| self.directory.resolve(&format!("postmaster@{domain}")));
        found.find(|found| matches!(found, Found::Accounts(_))).unwrap_or(Found::UnknownUser)
    }

    async fn has_room(&self, account: &Account, size_bytes: Option<u64>) -> Result<bool, Unavailable> {
        let Some(quota) = account.quota_bytes else { return Ok(true) };
        let no_lander = || Unavailable("no lander runs here, which quotas need; add it to `millrace run`".to_owned());
        let used = self.mailboxes.as_ref().ok_or_else(no_lander)?.usage_bytes(&account.id).await;
        let used = used.map_err(|error| Unavailable(error.to_string()))?;
        // Nobody sends nothing: a message of unknown size still needs some room.
        Ok(used.saturating_add(size_bytes.unwrap_or(0).max(1)) <= quota)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use confique::Config as _;
    use millrace_schemas::{MailboxChange, Topic, encode};
    use millrace_storage::NewRecord;

    use super::*;
    use crate::config::Config;
    use crate::node::{Node, Role};

    struct World {
        node: Arc<Node>,
        recipients: LocalRecipients,
        _data: tempfile::TempDir,
    }

    impl World {
        /// Alice with a quota of 1,000 bytes, Bob without one, and an alias for both.
        async fn open() -> Self {
            let data = tempfile::tempdir().unwrap();
            let mut config = Config::builder().load().unwrap();
            config.data_dir = data.path().to_owned();
            config.screening.dns = "off".to_owned();
            let node = Node::open(config).await.unwrap();
            node.start(&[Role::Lander]).await.unwrap();
            let alice = node.directory.add_account("alice@millrace.test", None, Some(1000)).await.unwrap();
            node.directory.add_account("bob@millrace.test", None, None).await.unwrap();
            node.directory
                .add_alias("both@millrace.test", &["bob@millrace.test", "alice@millrace.test"].map(str::to_owned))
                .await
                .unwrap();
            let recipients = LocalRecipients {
                directory: node.directory.clone(),
                mailboxes: Some(node.mailboxes.clone()),
                server_name: "mx.millrace.test".to_owned(),
            };
            let world = Self { node, recipients, _data: data };
            world.deliver(&alice.id, 600).await;
            world
        }

        /// An email of this size, as screening would have it delivered.
        async fn deliver(&self, account_id: &str, size_bytes: i64) {
            let change = MailboxChange {
                kind: MailboxChange::DELIVERED.to_owned(),
                account_id: account_id.to_owned(),
                email_id: "e1".to_owned(),
                message_id: Some("e1".to_owned()),
                received_at_us: Some(1),
                recipient: Some("alice@millrace.test".to_owned()),
                body: Some("2026-01-01/01ARZ3NDEKTSV4RRFFQ69G5FAV.pack:16:100".to_owned()),
                size_bytes: Some(size_bytes),
                mailbox: Some("inbox".to_owned()),
                summary: Some("{}".to_owned()),
                ..MailboxChange::default()
            };
            let value = encode(&change).unwrap();
            let record = NewRecord { topic: Topic::MailboxChanges, key: account_id.to_owned(), value };
            let at = self.node.storage.log.append(vec![record]).await.unwrap()[0];
            while self.node.storage.hot.applied_to(at.partition).await.unwrap().is_none_or(|to| to <= at.offset) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }

        async fn resolve(&self, address: &str, size_bytes: Option<u64>) -> Resolution {
            self.recipients.resolve(&Address::parse(address).unwrap(), size_bytes).await.unwrap()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_is_unknown_whom_another_process_has_just_added() {
        let world = World::open().await;
        // Another process: it has a view of its own, and this one is told by the log alone.
        let other = Directory::open(world.node.storage.log.clone()).await.unwrap();
        let behind = Directory::open(world.node.storage.log.clone()).await.unwrap();
        let recipients = LocalRecipients { directory: behind, ..world.recipients };
        for n in 0..3 {
            other.add_account(&format!("new{n}@millrace.test"), None, None).await.unwrap();
            let address = Address::parse(&format!("new{n}@millrace.test")).unwrap();
            let resolved = recipients.resolve(&address, None).await.unwrap();
            assert!(matches!(resolved, Resolution::Accounts(_)), "{resolved:?}");
        }
        let nobody = Address::parse("nobody@millrace.test").unwrap();
        assert_eq!(recipients.resolve(&nobody, None).await.unwrap(), Resolution::UnknownUser);
        world.node.stop().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_declared_size_counts_against_the_quota() {
        let world = World::open().await;
        let is_taken = async |address: &str, size_bytes| {
            matches!(world.resolve(address, size_bytes).await, Resolution::Accounts(_))
        };
        for (size_bytes, is_room) in [(None, true), (Some(0), true), (Some(400), true), (Some(401), false)] {
            assert_eq!(is_taken("alice@millrace.test", size_bytes).await, is_room, "{size_bytes:?}");
            assert_eq!(is_taken("both@millrace.test", size_bytes).await, is_room, "all or none, {size_bytes:?}");
            assert!(is_taken("bob@millrace.test", size_bytes).await);
        }
        assert_eq!(world.resolve("alice@millrace.test", Some(u64::MAX)).await, Resolution::OverQuota);
        let alice = world.node.directory.account_of("alice@millrace.test").unwrap();
        let mut full = Account::clone(&alice);
        full.quota_bytes = Some(600);
        assert!(!world.recipients.has_room(&full, None).await.unwrap(), "a full account takes nothing");
        let blind = LocalRecipients { mailboxes: None, ..world.recipients };
        assert!(blind.has_room(&full, None).await.is_err(), "without a lander a quota cannot be kept");
        world.node.stop().await.unwrap();
    }
}
