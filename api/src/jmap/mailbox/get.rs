//! `Mailbox/get` (RFC 8621 section 2.1).

use millrace_query::mail::{AccountView, MailboxCounts};
use serde_json::{Map, Value, json};

use super::MAILBOXES;
use crate::error::MethodError;
use crate::jmap::arguments::{self, GetArguments, check_properties, keep_properties, object};
use crate::jmap::dispatch::Call;

const PROPERTIES: [&str; 11] = [
    "id",
    "name",
    "parentId",
    "role",
    "sortOrder",
    "totalEmails",
    "unreadEmails",
    "totalThreads",
    "unreadThreads",
    "myRights",
    "isSubscribed",
];

pub async fn get(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: GetArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    check_properties(asked.properties.as_deref().unwrap_or_default(), &PROPERTIES)?;
    let ids = asked.ids.unwrap_or_else(|| MAILBOXES.iter().map(|(role, _)| (*role).to_owned()).collect());
    if ids.len() > call.api.options.max_objects_in_get {
        return Err(MethodError::RequestTooLarge(call.api.options.max_objects_in_get));
    }
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    for id in &ids {
        match mailbox(&view, call.id(id)) {
            Some(mut object) => {
                keep_properties(&mut object, asked.properties.as_deref());
                list.push(Value::Object(object));
            }
            None => not_found.push(id.as_str()),
        }
    }
    Ok(object(json!({
        "accountId": call.account.id,
        "state": view.state.to_string(),
        "list": list,
        "notFound": not_found,
    })))
}

fn mailbox(view: &AccountView, id: &str) -> Option<Map<String, Value>> {
    let order = MAILBOXES.iter().position(|(role, _)| *role == id)?;
    let (role, name) = MAILBOXES[order];
    let MailboxCounts { total_emails, unread_emails, total_threads, unread_threads, .. } = view.mailbox_counts(role);
    Some(object(json!({
        "id": role,
        "name": name,
        "parentId": null,
        "role": role,
        "sortOrder": order + 1,
        "totalEmails": total_emails,
        "unreadEmails": unread_emails,
        "totalThreads": total_threads,
        "unreadThreads": unread_threads,
        "myRights": {
            "mayReadItems": true,
            "mayAddItems": true,
            "mayRemoveItems": true,
            "maySetSeen": true,
            "maySetKeywords": true,
            "mayCreateChild": false,
            "mayRename": false,
            "mayDelete": false,
            "maySubmit": false,
        },
        "isSubscribed": true,
    })))
}
