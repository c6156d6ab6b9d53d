//! `Thread/get` (RFC 8621 section 3.1).

use serde_json::{Map, Value, json};

use crate::error::MethodError;
use crate::jmap::arguments::{self, GetArguments, check_properties, keep_properties, object};
use crate::jmap::dispatch::Call;

/// The emails of a thread, oldest first.
pub async fn get(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: GetArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    check_properties(asked.properties.as_deref().unwrap_or_default(), &["id", "emailIds"])?;
    let most = call.api.options.max_objects_in_get;
    let ids = asked.ids.ok_or(MethodError::RequestTooLarge(most))?;
    if ids.len() > most {
        return Err(MethodError::RequestTooLarge(most));
    }
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    for id in &ids {
        let Some(email_ids) = view.thread(call.id(id)) else {
            not_found.push(id.as_str());
            continue;
        };
        let email_ids: Vec<&str> = email_ids.iter().map(AsRef::as_ref).collect();
        let mut thread = object(json!({ "id": id, "emailIds": email_ids }));
        keep_properties(&mut thread, asked.properties.as_deref());
        list.push(Value::Object(thread));
    }
    Ok(object(json!({
        "accountId": call.account.id, "state": view.state.to_string(), "list": list, "notFound": not_found,
    })))
}
