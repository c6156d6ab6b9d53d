//! `Mailbox/set` (RFC 8621 section 2.5): the set of mailboxes is fixed, so each change is refused by itself.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::exists;
use crate::error::{MethodError, SetError};
use crate::jmap::arguments::{self, object};
use crate::jmap::dispatch::Call;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetArguments {
    account_id: String,
    if_in_state: Option<String>,
    create: Option<Map<String, Value>>,
    update: Option<Map<String, Value>>,
    destroy: Option<Vec<String>>,
    on_destroy_remove_emails: Option<bool>,
}

pub async fn set(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: SetArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let _nothing_to_remove = asked.on_destroy_remove_emails;
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let current = view.state.to_string();
    if asked.if_in_state.is_some_and(|expected| expected != current) {
        return Err(MethodError::StateMismatch(current));
    }
    let fixed = SetError::Forbidden("the mailboxes of an account are fixed").to_json();
    let refuse = |id: &str| if exists(id) { fixed.clone() } else { SetError::NotFound.to_json() };
    let not_created: Map<_, _> = asked.create.into_iter().flatten().map(|(id, _)| (id, fixed.clone())).collect();
    let not_updated: Map<_, _> = asked.update.into_iter().flatten().map(|(id, _)| (id.clone(), refuse(&id))).collect();
    let not_destroyed: Map<_, _> = asked.destroy.into_iter().flatten().map(|id| (id.clone(), refuse(&id))).collect();
    Ok(object(json!({
        "accountId": call.account.id, "oldState": current, "newState": current,
        "created": null, "updated": null, "destroyed": null,
        "notCreated": not_created, "notUpdated": not_updated, "notDestroyed": not_destroyed,
    })))
}
