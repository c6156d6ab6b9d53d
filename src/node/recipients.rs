//! The directory and quotas, as reception asks for them at RCPT.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_directory::{Account, Directory, Resolution as Found};
use millrace_query::mail::Mailboxes;
use millrace_smtp::{Address, Recipients, Resolution, Unavailable};

/// Answers from the directory's view; an account with a quota is asked what it holds.
pub struct LocalRecipients {
    pub directory: Arc<Directory>,
    pub mailboxes: Arc<Mailboxes>,
    /// Our name in SMTP.
    pub server_name: String,
}

#[async_trait]
impl Recipients for LocalRecipients {
    async fn resolve(&self, address: &Address) -> Result<Resolution, Unavailable> {
        let found = match self.directory.resolve(&address.to_string()) {
            Found::NotLocal if self.is_our_postmaster(address) => self.postmaster(),
            found => found,
        };
        let accounts = match found {
            Found::Accounts(accounts) => accounts,
            Found::UnknownUser => return Ok(Resolution::UnknownUser),
            Found::NotLocal => return Ok(Resolution::NotLocal),
        };
        // All or none: a 250 for those with room would leave the others without a word.
        for account in &accounts {
            if !self.has_room(account).await? {
                return Ok(Resolution::OverQuota);
            }
        }
        Ok(Resolution::Accounts(accounts.iter().map(|account| account.id.clone()).collect()))
    }
}

impl LocalRecipients {
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

    async fn has_room(&self, account: &Account) -> Result<bool, Unavailable> {
        let Some(quota) = account.quota_bytes else { return Ok(true) };
        let used = self.mailboxes.usage_bytes(&account.id).await;
        Ok(used.map_err(|error| Unavailable(error.to_string()))? < quota)
    }
}
