//! `Email/changes` (RFC 8621 section 4.3).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::error::MethodError;
use crate::jmap::arguments::{self, ChangesArguments, object};
use crate::jmap::dispatch::Call;
use crate::jmap::state;

pub async fn changes(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: ChangesArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    if asked.max_changes == Some(0) {
        return Err(MethodError::invalid("'maxChanges' is 0"));
    }
    let most = asked.max_changes.unwrap_or(usize::MAX).min(call.api.options.max_query_limit);
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let changes = state::changes_since(&view, &asked.since_state, most)?;
    Ok(object(json!({
        "accountId": call.account.id,
        "oldState": asked.since_state,
        "newState": changes.new_state.to_string(),
        "hasMoreChanges": changes.has_more,
        "created": ids(&changes.created),
        "updated": ids(&changes.updated),
        "destroyed": ids(&changes.destroyed),
    })))
}

fn ids(ids: &[Arc<str>]) -> Vec<&str> {
    ids.iter().map(AsRef::as_ref).collect()
}
