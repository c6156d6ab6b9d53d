//! Waits for changes of one account.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_directory::Account;
use millrace_query::mail::{Changed, MailError};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::Api;
use crate::auth::still_holds;
use crate::error::HttpError;

/// The types that push tells of. `EmailDelivery` changes when mail came in (RFC 8621 section 1.5).
const TYPES: [&str; 4] = ["Mailbox", "Thread", "Email", "EmailDelivery"];
/// Changes that follow one another this fast are told as one.
const GATHER: Duration = Duration::from_millis(20);
/// Until an account that could not be read is read again; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// A watcher that missed more than this many emails' changes tells that all types changed.
const MAX_EXAMINED: usize = 1_000;

/// The types a client wants to hear of.
#[derive(Clone, Debug)]
pub(crate) struct Types(Option<BTreeSet<String>>);

impl Types {
    pub(crate) fn all() -> Self {
        Self(None)
    }

    /// Names that we do not know are never pushed.
    pub(crate) fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Some(names.into_iter().map(str::to_owned).collect()))
    }

    fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

/// A change to tell: the account's state after it, and the `StateChange` object.
pub(crate) struct Told {
    pub(crate) state: u64,
    pub(crate) change: Map<String, Value>,
}

pub(crate) struct Watcher {
    api: Arc<Api>,
    account: Arc<Account>,
    types: Types,
    receiver: Receiver<Changed>,
    /// The state that the client has been told.
    told: u64,
}

impl Watcher {
    /// Tells changes after `since`, or after now.
    ///
    /// # Errors
    /// [`HttpError::Unavailable`] when the account cannot be read.
    pub(crate) async fn new(
        api: Arc<Api>,
        account: Arc<Account>,
        types: Types,
        since: Option<u64>,
    ) -> Result<Self, HttpError> {
        // First watch, then read: a change in between is told rather than lost.
        let receiver = api.mailboxes.watch();
        let state = api.mailboxes.view(&account.id).await?.state;
        let told = since.map_or(state, |since| since.min(state));
        Ok(Self { api, account, types, receiver, told })
    }

    /// Whether the account may still be watched: its credential is the one that the connection was opened with.
    pub(crate) fn still_holds(&self) -> bool {
        still_holds(&self.api, &self.account)
    }

    /// The next change in a wanted type; `None` when there will be none: the server stops, or the account may no longer
    /// be watched. Can be dropped and called again.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let mut pause = FIRST_PAUSE;
        loop {
            if !self.still_holds() {
                return None;
            }
            match self.told_now().await {
                Ok(Some(told)) => return Some(told),
                Ok(None) => {
                    pause = FIRST_PAUSE;
                    self.wait().await?;
                }
                // The change that could not be read is told by nobody else.
                Err(error) => {
                    report(&error, pause);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Waits until the account has changed, or might have.
    async fn wait(&mut self) -> Option<()> {
        loop {
            match self.receiver.recv().await {
                Ok(changed) if changed.concerns(&self.account.id, self.told) => break,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return None,
            }
        }
        tokio::time::sleep(GATHER).await;
        Some(())
    }

    async fn told_now(&mut self) -> Result<Option<Told>, MailError> {
        let view = self.api.mailboxes.view(&self.account.id).await?;
        if view.state <= self.told {
            return Ok(None);
        }
        let changes = view.changes_since(self.told, MAX_EXAMINED).ok().filter(|changes| !changes.has_more);
        let has_joined = changes.as_ref().is_none_or(|changes| !changes.created.is_empty());
        let has_left = changes.as_ref().is_none_or(|changes| !changes.destroyed.is_empty());
        self.told = view.state;
        let is_changed = |name: &str| match name {
            "EmailDelivery" => has_joined,
            "Thread" => has_joined || has_left,
            _ => true,
        };
        let state = view.state.to_string();
        let states: Map<String, Value> = TYPES
            .iter()
            .filter(|name| self.types.has(name) && is_changed(name))
            .map(|name| ((*name).to_owned(), state.clone().into()))
            .collect();
        if states.is_empty() {
            return Ok(None);
        }
        metrics::counter!("millrace_api_pushes_total").increment(1);
        let mut change = Map::new();
        change.insert("@type".into(), "StateChange".into());
        change.insert("changed".into(), json!({ &self.account.id: states }));
        Ok(Some(Told { state: view.state, change }))
    }
}

/// Aloud once, since there may be as many watchers as clients.
fn report(error: &MailError, pause: Duration) {
    let pause_ms = pause.as_millis();
    match pause {
        FIRST_PAUSE => tracing::warn!(%error, pause_ms, "an account cannot be read for push, which is tried again"),
        _ => tracing::debug!(%error, pause_ms, "an account cannot be read for push yet"),
    }
}
