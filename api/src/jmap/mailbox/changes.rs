//! `Mailbox/changes` (RFC 8621 section 2.2). The set of mailboxes is fixed: when anything changed, it is the counts.

use serde_json::{Map, Value, json};

use super::MAILBOXES;
use crate::error::MethodError;
use crate::jmap::arguments::{self, ChangesArguments, object};
use crate::jmap::dispatch::Call;
use crate::jmap::state;

const COUNTS: [&str; 4] = ["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"];

pub async fn changes(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: ChangesArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let since = state::past(&view, &asked.since_state)?;
    let updated: Vec<&str> =
        if since == view.state { Vec::new() } else { MAILBOXES.iter().map(|(role, _)| *role).collect() };
    match asked.max_changes {
        Some(0) => return Err(MethodError::invalid("'maxChanges' is 0")),
        Some(most) if most < updated.len() => {
            return Err(MethodError::CannotCalculateChanges("read all mailboxes again; they are few".into()));
        }
        _ => {}
    }
    Ok(object(json!({
        "accountId": call.account.id,
        "oldState": asked.since_state,
        "newState": view.state.to_string(),
        "hasMoreChanges": false,
        "created": [],
        "updated": updated,
        "destroyed": [],
        "updatedProperties": COUNTS,
    })))
}
