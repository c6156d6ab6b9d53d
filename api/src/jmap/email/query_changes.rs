//! `Email/queryChanges` (RFC 8620 section 5.6, RFC 8621 section 4.5).
//!
//! Old results are not kept. Every email that changed since is told as removed, and as added where it is now: the RFC
//! allows to name as removed what was not in the results.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::query::Selection;
use crate::error::MethodError;
use crate::jmap::arguments::{self, Comparator, object};
use crate::jmap::dispatch::Call;
use crate::jmap::state;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    account_id: String,
    filter: Option<Value>,
    sort: Option<Vec<Comparator>>,
    since_query_state: String,
    max_changes: Option<usize>,
    up_to_id: Option<String>,
    calculate_total: Option<bool>,
    collapse_threads: Option<bool>,
}

pub async fn query_changes(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: Arguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let selection = Selection::parse(asked.filter.as_ref(), asked.sort.as_deref(), asked.collapse_threads)?;
    if !selection.can_calculate_changes() {
        let why = "the results depend on more than the emails that changed; query again";
        return Err(MethodError::CannotCalculateChanges(why.into()));
    }
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let changes = state::changes_since(&view, &asked.since_query_state, call.api.options.max_query_limit)?;
    if changes.has_more {
        return Err(MethodError::CannotCalculateChanges("too much changed since; query again".into()));
    }
    let changed: HashSet<&str> =
        changes.created.iter().chain(&changes.updated).chain(&changes.destroyed).map(|id| &**id).collect();
    let found = selection.run(call, &view).await?;
    // A reader that holds the results up to `upToId` does not need what changed behind it, unless that has moved.
    let up_to_id = asked.up_to_id.filter(|_| selection.has_fixed_order());
    let end = up_to_id.and_then(|id| found.iter().position(|email| *email.email_id == *id));
    let shown = end.map_or(found.len(), |end| end + 1);
    let added: Vec<Value> = found
        .iter()
        .enumerate()
        .take(shown)
        .filter(|(_, email)| changed.contains(&*email.email_id))
        .map(|(index, email)| json!({ "id": &*email.email_id, "index": index }))
        .collect();
    // What was created since cannot have been in the old results.
    let removed: Vec<&str> = changes.updated.iter().chain(&changes.destroyed).map(|id| &**id).collect();
    if asked.max_changes.is_some_and(|most| added.len() + removed.len() > most) {
        return Err(MethodError::TooManyChanges);
    }
    let mut response = object(json!({
        "accountId": call.account.id,
        "oldQueryState": asked.since_query_state,
        "newQueryState": view.state.to_string(),
        "removed": removed,
        "added": added,
    }));
    if asked.calculate_total == Some(true) {
        response.insert("total".into(), found.len().into());
    }
    Ok(response)
}
