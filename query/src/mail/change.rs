//! Changing mail: `Email/set` and its kin.

use std::sync::Arc;

use millrace_schemas::{CodecError, MailboxChange, MailboxPatch, Topic, encode};
use millrace_storage::{LogError, NewRecord, Position};
use uuid::Uuid;

use super::apply::update;
use super::cache::Known;
use super::conditions;
use super::labels::ROLES;
use super::mailboxes::{MailError, Mailboxes};
use super::version::EmailVersion;
use super::view::AccountView;

/// Keywords of one email (RFC 8621, 4.1.1 has each at most 255 bytes).
const MAX_KEYWORDS: usize = 128;
const MAX_KEYWORD_BYTES: usize = 255;
/// How often a change for a state is tried when something that changes nothing came between each time.
const MAX_TRIES: usize = 5;

/// Why one of the emails was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("there is no such email")]
    NotFound,
    #[error("an email must be in at least one mailbox")]
    NoMailbox,
    #[error("there is no mailbox '{0}'")]
    UnknownMailbox(String),
    #[error("'{0}' cannot be a keyword")]
    BadKeyword(String),
    #[error("an email can have at most {MAX_KEYWORDS} keywords")]
    TooManyKeywords,
}

/// What became of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The account's state right before and after the change, so that who was in the one and goes on from the other has
    /// missed nothing. They are the same where something else came in the midst of it: then all of it is still to be asked
    /// for.
    pub old_state: u64,
    pub new_state: u64,
    /// Ids that were not changed; all others were.
    pub rejected: Vec<(String, Rejected)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nothing was changed.
    #[error("the account is in state {found}, and the change is for state {wanted}")]
    StateMismatch { wanted: u64, found: u64 },
    /// Nothing was changed.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// Nothing was changed.
    #[error("the change cannot be recorded now: {0}")]
    Log(#[from] LogError),
    #[error("the change cannot be written as a record: {0}")]
    Codec(#[from] CodecError),
    /// The change may be seen later, whole: it is recorded, or the log has not answered. One that was for a state may have
    /// been refused.
    #[error("the change may be recorded and is not visible yet")]
    NotYetVisible,
    /// Nothing was changed.
    #[error("other records of the account came between {MAX_TRIES} times; try again")]
    Contended,
}

impl Mailboxes {
    /// Changes emails of an account: one record each, all or none durable, visible when this returns. Where `if_in_state`
    /// is given, the log decides whether the account still was in that state ([`conditions`]); then all of them are made or
    /// none.
    ///
    /// # Errors
    /// [`ChangeError`]; emails that cannot be changed are in [`Applied::rejected`] instead.
    pub async fn change(
        &self,
        account_id: &str,
        if_in_state: Option<u64>,
        patches: Vec<(String, MailboxPatch)>,
    ) -> Result<Applied, ChangeError> {
        let slot = self.shared.views.slot(account_id);
        // Of one process one at a time, so that they do not refuse each other.
        let _turn = slot.writer.lock().await;
        for _ in 0..MAX_TRIES {
            let Known { view, known_to, .. } = self.known(account_id).await?;
            let old_state = view.state;
            if let Some(wanted) = if_in_state.filter(|wanted| *wanted != old_state) {
                return Err(ChangeError::StateMismatch { wanted, found: old_state });
            }
            let condition = if_in_state.map(|_| (known_to, Uuid::now_v7().to_string()));
            let mut changes = Vec::with_capacity(patches.len());
            let mut rejected = Vec::new();
            for (email_id, patch) in &patches {
                match check(&view, email_id, patch) {
                    Ok(version) => changes.push(change(account_id, version, patch, condition.as_ref())),
                    Err(reason) => rejected.push((email_id.clone(), reason)),
                }
            }
            if changes.is_empty() {
                return Ok(Applied { old_state, new_state: old_state, rejected });
            }
            if let Some(offsets) = self.record(account_id, &changes).await? {
                // What holds for a state has nothing before it.
                let unread_from = condition.is_none().then_some(known_to);
                let (old_state, new_state) = self.states(account_id, old_state, unread_from, &offsets).await?;
                return Ok(Applied { old_state, new_state, rejected });
            }
        }
        Err(ChangeError::Contended)
    }

    /// Appends changes and waits until they are visible. Gives their offsets; `None` when the log has decided that they do
    /// not hold.
    async fn record(&self, account_id: &str, changes: &[MailboxChange]) -> Result<Option<Vec<u64>>, ChangeError> {
        let record = |change| {
            let value = encode(change)?;
            Ok(NewRecord { topic: Topic::MailboxChanges, key: account_id.to_owned(), value })
        };
        let records: Vec<NewRecord> = changes.iter().map(record).collect::<Result<_, CodecError>>()?;
        let mut offsets: Vec<u64> = self.append(records).await?.iter().map(|position| position.offset).collect();
        offsets.sort_unstable();
        let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return Ok(Some(offsets)) };
        let (partition, patience) = (self.shared.partition(account_id), self.shared.options.change_patience);
        // They are recorded: where hot store or log do not answer from here on, what became of them cannot be told.
        if !self.shared.wait_applied(partition, last + 1, patience).await.unwrap_or(false) {
            return Err(ChangeError::NotYetVisible);
        }
        let first_change = changes.iter().take(1).map(|change| (first, change));
        let refused = conditions::refused(self.shared.log.as_ref(), partition, first_change).await;
        Ok(refused.map_err(|_| ChangeError::NotYetVisible)?.is_empty().then_some(offsets))
    }

    /// The account's states right before and after the records at `offsets`. Their writer had seen the account in `state`;
    /// where `unread_from` is given, other records may lie from there to the first.
    async fn states(
        &self,
        account_id: &str,
        state: u64,
        unread_from: Option<u64>,
        offsets: &[u64],
    ) -> Result<(u64, u64), ChangeError> {
        let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return Ok((state, state)) };
        // They are made: a hot store that does not answer now does not undo them.
        let seen = self.view(account_id).await.map_err(|_| ChangeError::NotYetVisible)?;
        let (log, partition) = (self.shared.log.as_ref(), self.shared.partition(account_id));
        let range = unread_from.unwrap_or(first).min(first)..last + 1;
        let Ok(others) = conditions::others(log, partition, account_id, range, offsets).await else {
            // What else there is cannot be told now.
            return Ok((state, state));
        };
        let before = others.iter().filter(|other| **other < first).max().map_or(state, |other| other + 1);
        let is_mixed = others.iter().any(|other| *other > first);
        // What came later is none of it.
        Ok((before, if is_mixed { before } else { seen.state.min(last + 1) }))
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, ChangeError> {
        self.shared.log.append(records).await.map_err(|error| match error {
            LogError::InDoubt(_) => ChangeError::NotYetVisible,
            refused => refused.into(),
        })
    }
}

/// The change of one email, under the condition of its call: how far its writer has seen the log, and the call's name.
fn change(
    account_id: &str,
    version: &EmailVersion,
    patch: &MailboxPatch,
    condition: Option<&(u64, String)>,
) -> MailboxChange {
    MailboxChange {
        kind: MailboxChange::UPDATED.to_owned(),
        account_id: account_id.to_owned(),
        email_id: version.email_id.to_string(),
        changed_at_us: chrono::Utc::now().timestamp_micros(),
        // Lets the lander find the email's rows in the tables by their order.
        received_at_us: Some(version.received_at_us),
        patch: Some(serde_json::to_string(patch).expect("a patch has only text keys, so that JSON always takes it")),
        if_unchanged_since: condition.map(|(known_to, _)| i64::try_from(*known_to).unwrap_or(i64::MAX)),
        call: condition.map(|(_, call)| call.clone()),
        ..MailboxChange::default()
    }
}

/// Holds a patch against the email it is for.
fn check<'a>(view: &'a AccountView, email_id: &str, patch: &MailboxPatch) -> Result<&'a Arc<EmailVersion>, Rejected> {
    let version = view.get(email_id).ok_or(Rejected::NotFound)?;
    let added = patch.mailboxes.iter().filter(|(_, is_in)| **is_in).map(|(mailbox, _)| mailbox);
    for mailbox in patch.set_mailboxes.iter().flatten().chain(added) {
        if !ROLES.contains(&mailbox.as_str()) {
            return Err(Rejected::UnknownMailbox(mailbox.clone()));
        }
    }
    let added = patch.keywords.iter().filter(|(_, is_on)| **is_on).map(|(keyword, _)| keyword);
    for keyword in patch.set_keywords.iter().flatten().chain(added) {
        if !is_keyword(keyword) {
            return Err(Rejected::BadKeyword(keyword.clone()));
        }
    }
    if patch.is_destroyed {
        return Ok(version);
    }
    match update(version, patch, version.seq) {
        Some(next) if next.keywords.len() > MAX_KEYWORDS => Err(Rejected::TooManyKeywords),
        None if leaves_no_mailbox(version, patch) => Err(Rejected::NoMailbox),
        _ => Ok(version),
    }
}

fn leaves_no_mailbox(version: &EmailVersion, patch: &MailboxPatch) -> bool {
    let base: Vec<&str> = match &patch.set_mailboxes {
        Some(mailboxes) => mailboxes.iter().map(String::as_str).collect(),
        None => version.mailboxes.iter().map(AsRef::as_ref).collect(),
    };
    let stays = |mailbox: &&str| patch.mailboxes.get(*mailbox).copied().unwrap_or(true);
    !base.iter().any(stays) && !patch.mailboxes.values().any(|is_in| *is_in)
}

/// Lower-case printable ASCII without what IMAP cannot carry (RFC 8621, 4.1.1).
fn is_keyword(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_KEYWORD_BYTES
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !br#"(){]%*"\"#.contains(&byte) && !byte.is_ascii_uppercase())
}
