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
}

#[async_trait]
impl Recipients for LocalRecipients {
    async fn resolve(&self, address: &Address) -> Result<Resolution, Unavailable> {
        let accounts = match self.directory.resolve(&address.to_string()) {
            Found::Accounts(accounts) => accounts,
            Found::UnknownUser => return Ok(Resolution::UnknownUser),
            Found::NotLocal => return Ok(Resolution::NotLocal),
        };
        let mut with_room = Vec::with_capacity(accounts.len());
        for account in accounts {
            if self.has_room(&account).await? {
                with_room.push(account.id.clone());
            }
        }
        Ok(if with_room.is_empty() { Resolution::OverQuota } else { Resolution::Accounts(with_room) })
    }
}

impl LocalRecipients {
    async fn has_room(&self, account: &Account) -> Result<bool, Unavailable> {
        let Some(quota) = account.quota_bytes else { return Ok(true) };
        let used = self.mailboxes.usage_bytes(&account.id).await;
        Ok(used.map_err(|error| Unavailable(error.to_string()))? < quota)
    }
}
