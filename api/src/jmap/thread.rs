//! Threads (RFC 8621 section 3).

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_query::mail::{AccountView, Changes};
use serde_json::{Map, Value, json};

use super::arguments::{self, ChangesArguments, GetArguments, check_properties, keep_properties};
use super::dispatch::Call;
use super::mailbox::object;
use super::state;
use crate::error::MethodError;

/// `Thread/get` (section 3.1): the emails of a thread, oldest first.
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

/// `Thread/changes` (section 3.2). A thread changes when an email joins or leaves it.
pub async fn changes(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: ChangesArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    if asked.max_changes == Some(0) {
        return Err(MethodError::invalid("'maxChanges' is 0"));
    }
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let most = asked.max_changes.unwrap_or(usize::MAX).min(call.api.options.max_query_limit);
    let changed = state::changes_since(&view, &asked.since_state, most)?;
    let since = state::parse(&asked.since_state)?;
    let (mut created, mut updated, mut destroyed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (joined, left) = touched(call, &view, &changed).await?;
    for thread_id in joined.union(&left) {
        let is_new =
            |emails: &[Arc<str>]| emails.iter().filter_map(|id| view.get(id)).all(|one| one.created_seq >= since);
        match view.thread(thread_id) {
            None => destroyed.insert(thread_id.as_str()),
            // What an email has left was there before.
            Some(emails) if !left.contains(thread_id) && is_new(&emails) => created.insert(thread_id.as_str()),
            Some(_) => updated.insert(thread_id.as_str()),
        };
    }
    Ok(object(json!({
        "accountId": call.account.id,
        "oldState": asked.since_state,
        "newState": changed.new_state.to_string(),
        "hasMoreChanges": changed.has_more,
        "created": created,
        "updated": updated,
        "destroyed": destroyed,
    })))
}

type ThreadIds = BTreeSet<String>;

/// The threads that emails joined, and those that emails left.
async fn touched(
    call: &Call<'_>,
    view: &AccountView,
    changed: &Changes,
) -> Result<(ThreadIds, ThreadIds), MethodError> {
    let joined =
        changed.created.iter().filter_map(|id| view.get(id)).map(|email| email.thread_id.to_string()).collect();
    // The view knows live emails only; their facts stay.
    let ids: Vec<&str> = changed.destroyed.iter().map(AsRef::as_ref).collect();
    let facts = if ids.is_empty() { Vec::new() } else { call.api.mailboxes.facts(&call.account.id, &ids).await? };
    if facts.len() < ids.len() {
        let why = "the thread of an email that was destroyed is not known any more; read the threads again";
        return Err(MethodError::CannotCalculateChanges(why.into()));
    }
    Ok((joined, facts.iter().map(|facts| facts.thread_id.clone()).collect()))
}
