//! MAIL and RCPT: the envelope (RFC 5321 sections 4.1.1.2 and 4.1.1.3).

use std::collections::HashSet;

use tokio::time::timeout;

use crate::address::Address;
use crate::command::ForwardPath;
use crate::parameters::MailParameters;
use crate::recipients::Resolution;
use crate::reply::{self, Reply};
use crate::session::bdat::Chunks;
use crate::session::{Session, Step};

/// A transaction between MAIL and the end of the message.
pub(super) struct Transaction {
    pub(super) reverse_path: Option<Address>,
    pub(super) is_smtputf8: bool,
    /// As declared with MAIL.
    size_bytes: Option<u64>,
    /// Addresses that were accepted, as given.
    pub(super) forward_path: Vec<String>,
    /// `account address`, each account once.
    pub(super) recipients: Vec<String>,
    accounts: HashSet<String>,
    /// What came with BDAT so far.
    pub(super) chunks: Option<Chunks>,
}

impl Transaction {
    /// Adds an accepted address and the accounts that it leads to.
    fn add(&mut self, address: &Address, accounts: Vec<String>) {
        for account in accounts {
            let entry = format!("{account} {address}");
            if self.accounts.insert(account) {
                self.recipients.push(entry);
            }
        }
        self.forward_path.push(address.as_str().to_owned());
    }
}

impl Session {
    pub(super) fn mail(&mut self, reverse_path: Option<Address>, parameters: MailParameters) -> Step {
        if self.helo.is_none() {
            return Ok(reply::NO_HELO);
        }
        if self.transaction.is_some() {
            return Ok(reply::NESTED_MAIL);
        }
        if self.shutdown.is_cancelled() {
            return self.refuse(reply::SHUTTING_DOWN).map(|never| match never {});
        }
        if parameters.size_bytes.is_some_and(|size| size > self.reception.options.max_message_bytes as u64) {
            return Ok(reply::MESSAGE_TOO_BIG);
        }
        if self.reception.budget.is_exhausted() {
            return Ok(reply::NO_MEMORY);
        }
        self.transaction = Some(Transaction {
            reverse_path,
            is_smtputf8: parameters.is_smtputf8,
            size_bytes: parameters.size_bytes,
            forward_path: Vec::new(),
            recipients: Vec::new(),
            accounts: HashSet::new(),
            chunks: None,
        });
        Ok(reply::SENDER_OK)
    }

    pub(super) async fn rcpt(&mut self, path: ForwardPath) -> Step {
        let Some(transaction) = &mut self.transaction else { return Ok(reply::NO_MAIL) };
        if transaction.chunks.is_some() {
            return Ok(reply::DATA_AFTER_BDAT);
        }
        if transaction.forward_path.len() >= self.reception.options.max_recipients {
            return Ok(reply::TOO_MANY_RECIPIENTS);
        }
        let address = match path {
            ForwardPath::Address(address) => address,
            ForwardPath::Postmaster => self.reception.postmaster.clone(),
        };
        if !address.is_ascii() && !transaction.is_smtputf8 {
            return Ok(reply::RECIPIENT_NEEDS_UTF8);
        }
        let resolving = self.reception.recipients.resolve(&address, transaction.size_bytes);
        let resolved = timeout(self.reception.options.timeouts.resolve, resolving).await;
        Ok(match resolved {
            Ok(Ok(Resolution::Accounts(accounts))) if !accounts.is_empty() => {
                transaction.add(&address, accounts);
                reply::RECIPIENT_OK
            }
            Ok(Ok(resolution)) => refusal_of(resolution),
            Ok(Err(error)) => {
                tracing::warn!(%error, "recipient not resolved");
                reply::DIRECTORY_UNAVAILABLE
            }
            Err(_) => {
                tracing::warn!("recipient not resolved: the directory did not answer in time");
                reply::DIRECTORY_UNAVAILABLE
            }
        })
    }
}

fn refusal_of(resolution: Resolution) -> Reply {
    match resolution {
        Resolution::NotLocal => reply::RELAY_DENIED,
        Resolution::OverQuota => reply::OVER_QUOTA,
        Resolution::Accounts(_) | Resolution::UnknownUser => reply::UNKNOWN_USER,
    }
}
