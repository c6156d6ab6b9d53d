//! `Email/set` (RFC 8621 section 4.6): keywords, mailboxes and destroy. What is changed goes to the log in one step,
//! whose order decides between writers.

use std::collections::HashSet;

use millrace_query::mail::{AccountView, Rejected};
use millrace_schemas::MailboxPatch;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::patch;
use crate::error::{MethodError, SetError};
use crate::jmap::arguments::{self, object};
use crate::jmap::dispatch::Call;
use crate::jmap::state;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    account_id: String,
    if_in_state: Option<String>,
    create: Option<Map<String, Value>>,
    update: Option<Map<String, Value>>,
    destroy: Option<Vec<String>>,
}

#[derive(Default)]
struct Plan {
    patches: Vec<(String, MailboxPatch)>,
    updated: Map<String, Value>,
    not_updated: Map<String, Value>,
    destroyed: Vec<String>,
    not_destroyed: Map<String, Value>,
}

pub async fn set(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: Arguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let count = |map: &Option<Map<String, Value>>| map.as_ref().map_or(0, Map::len);
    let objects = count(&asked.create) + count(&asked.update) + asked.destroy.as_ref().map_or(0, Vec::len);
    if objects > call.api.options.max_objects_in_set {
        return Err(MethodError::RequestTooLarge(call.api.options.max_objects_in_set));
    }
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let expected = asked
        .if_in_state
        .as_deref()
        .map(|expected| state::parse(expected).map_err(|_| MethodError::StateMismatch(view.state.to_string())));
    let expected = expected.transpose()?;
    let why = "emails are made by delivery here; drafts and imports are not taken yet";
    let not_created: Map<_, _> =
        asked.create.into_iter().flatten().map(|(id, _)| (id, SetError::Forbidden(why).to_json())).collect();
    let mut plan = Plan::default();
    let destroy = asked.destroy.unwrap_or_default();
    plan.update(call, &view, asked.update.unwrap_or_default(), &destroy);
    plan.destroy(call, &view, destroy);
    let patches = std::mem::take(&mut plan.patches);
    let applied = call.api.mailboxes.change(&call.account.id, expected, patches).await?;
    plan.take_back(call, &applied.rejected);
    Ok(object(json!({
        "accountId": call.account.id,
        "oldState": applied.old_state.to_string(),
        "newState": applied.new_state.to_string(),
        "created": null,
        "updated": plan.updated,
        "destroyed": plan.destroyed,
        "notCreated": not_created,
        "notUpdated": plan.not_updated,
        "notDestroyed": plan.not_destroyed,
    })))
}

impl Plan {
    fn update(&mut self, call: &Call<'_>, view: &AccountView, updates: Map<String, Value>, destroy: &[String]) {
        let doomed: HashSet<&str> = destroy.iter().map(|id| call.id(id)).collect();
        for (asked_id, update) in updates {
            let id = call.id(&asked_id);
            let outcome = match (view.get(id), update.as_object()) {
                (None, _) => Err(SetError::NotFound),
                _ if doomed.contains(id) => Err(SetError::WillDestroy),
                (_, None) => Err(SetError::InvalidPatch("an update is not an object".into())),
                (Some(email), Some(update)) => patch::parse(update, email),
            };
            match outcome {
                Ok(patch) => {
                    if !patch::is_empty(&patch) {
                        self.patches.push((id.to_owned(), patch));
                    }
                    self.updated.insert(asked_id, Value::Null);
                }
                Err(error) => {
                    self.not_updated.insert(asked_id, error.to_json());
                }
            }
        }
    }

    /// Moves what was refused to the lists of what was not done.
    fn take_back(&mut self, call: &Call<'_>, rejected: &[(String, Rejected)]) {
        for (id, reason) in rejected {
            let error = SetError::of_rejected(reason).to_json();
            let asked_id = self.updated.keys().find(|asked_id| call.id(asked_id) == id).cloned();
            if let Some(asked_id) = asked_id {
                self.updated.remove(&asked_id);
                self.not_updated.insert(asked_id, error.clone());
            }
            if let Some(index) = self.destroyed.iter().position(|asked_id| call.id(asked_id) == id) {
                self.not_destroyed.insert(self.destroyed.swap_remove(index), error);
            }
        }
    }

    fn destroy(&mut self, call: &Call<'_>, view: &AccountView, ids: Vec<String>) {
        let mut seen = HashSet::new();
        for asked_id in ids {
            let id = call.id(&asked_id).to_owned();
            if !seen.insert(id.clone()) {
                continue;
            }
            if view.get(&id).is_some() {
                self.patches.push((id, MailboxPatch { is_destroyed: true, ..MailboxPatch::default() }));
                self.destroyed.push(asked_id);
            } else {
                self.not_destroyed.insert(asked_id, SetError::NotFound.to_json());
            }
        }
    }
}
