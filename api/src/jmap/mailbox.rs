//! Mailboxes (RFC 8621 section 2): the fixed set of roles, with counts.

use millrace_query::mail::{AccountView, MailboxCounts};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::arguments::{self, ChangesArguments, Comparator, GetArguments, check_properties, keep_properties};
use super::dispatch::Call;
use super::paging::Paging;
use super::state;
use crate::error::{MethodError, SetError};

/// Role (which is the id too) and name of each mailbox, in the order that clients show.
pub const MAILBOXES: [(&str, &str); 6] = [
    ("inbox", "Inbox"),
    ("drafts", "Drafts"),
    ("sent", "Sent"),
    ("archive", "Archive"),
    ("junk", "Junk"),
    ("trash", "Trash"),
];

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
const COUNTS: [&str; 4] = ["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"];

pub fn exists(id: &str) -> bool {
    MAILBOXES.iter().any(|(role, _)| *role == id)
}

/// `Mailbox/get` (section 2.1).
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

/// `Mailbox/changes` (section 2.2). The set of mailboxes is fixed: when anything changed, it is the counts.
pub async fn changes(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: ChangesArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let since = state::parse(&asked.since_state)?;
    if since > view.state {
        return Err(MethodError::CannotCalculateChanges("the state lies ahead of this account's".into()));
    }
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QueryArguments {
    account_id: String,
    filter: Option<Value>,
    sort: Option<Vec<Comparator>>,
    position: Option<i64>,
    anchor: Option<String>,
    anchor_offset: Option<i64>,
    limit: Option<i64>,
    calculate_total: Option<bool>,
    sort_as_tree: Option<bool>,
    filter_as_tree: Option<bool>,
}

/// `Mailbox/query` (section 2.3). Mailboxes form no tree, so `sortAsTree` and `filterAsTree` change nothing.
pub async fn query(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: QueryArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let _flat = (asked.sort_as_tree, asked.filter_as_tree);
    let mut found = Vec::new();
    for (index, (role, name)) in MAILBOXES.iter().enumerate() {
        if asked.filter.as_ref().map_or(Ok(true), |filter| matches(filter, role, name))? {
            found.push((index, *role, *name));
        }
    }
    sort(&mut found, asked.sort.as_deref().unwrap_or_default())?;
    let ids: Vec<&str> = found.iter().map(|(_, role, _)| *role).collect();
    let paging = Paging {
        position: asked.position.unwrap_or(0),
        anchor: asked.anchor,
        anchor_offset: asked.anchor_offset.unwrap_or(0),
        limit: asked.limit,
    };
    let window = paging.window(&ids, call.api.options.max_query_limit)?;
    let mut response = object(json!({
        "accountId": call.account.id,
        // Ids, names and order never change.
        "queryState": "0",
        "canCalculateChanges": true,
        "position": window.position,
        "ids": window.of(&ids),
    }));
    if asked.calculate_total == Some(true) {
        response.insert("total".into(), ids.len().into());
    }
    Ok(response)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QueryChangesArguments {
    account_id: String,
    since_query_state: String,
    #[serde(flatten)]
    _query: Map<String, Value>,
}

/// `Mailbox/queryChanges` (section 2.4): there never are any.
pub async fn query_changes(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: QueryChangesArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    if asked.since_query_state != "0" {
        return Err(MethodError::CannotCalculateChanges("this never was a state of the query".into()));
    }
    Ok(object(json!({
        "accountId": call.account.id, "oldQueryState": "0", "newQueryState": "0", "removed": [], "added": [],
    })))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Filter {
    Operator(FilterOperator),
    Condition(FilterCondition),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterOperator {
    operator: String,
    conditions: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FilterCondition {
    /// `Some(None)` would be an explicit null; every mailbox is at the top.
    parent_id: Option<String>,
    name: Option<String>,
    role: Option<String>,
    has_any_role: Option<bool>,
    is_subscribed: Option<bool>,
}

fn matches(filter: &Value, role: &str, name: &str) -> Result<bool, MethodError> {
    let unsupported = |why: String| MethodError::UnsupportedFilter(why);
    let parsed = serde_json::from_value(filter.clone()).map_err(|_| {
        unsupported("mailboxes are filtered by parentId, name, role, hasAnyRole and isSubscribed".into())
    })?;
    match parsed {
        Filter::Operator(FilterOperator { operator, conditions }) => {
            let mut results = Vec::with_capacity(conditions.len());
            for condition in &conditions {
                results.push(matches(condition, role, name)?);
            }
            match operator.as_str() {
                "AND" => Ok(results.iter().all(|matched| *matched)),
                "OR" => Ok(results.iter().any(|matched| *matched)),
                "NOT" => Ok(!results.iter().any(|matched| *matched)),
                other => Err(unsupported(format!("there is no operator '{other}'"))),
            }
        }
        Filter::Condition(condition) => {
            // An explicit `"role": null` asks for mailboxes without a role.
            let is_no_role = filter.get("role").is_some_and(Value::is_null);
            Ok(condition.parent_id.is_none()
                && !is_no_role
                && condition.name.is_none_or(|part| name.to_lowercase().contains(&part.to_lowercase()))
                && condition.role.is_none_or(|wanted| wanted == role)
                && condition.has_any_role.unwrap_or(true)
                && condition.is_subscribed.unwrap_or(true))
        }
    }
}

fn sort(found: &mut [(usize, &str, &str)], comparators: &[Comparator]) -> Result<(), MethodError> {
    for comparator in comparators.iter().rev() {
        match comparator.property.as_str() {
            "sortOrder" => found.sort_by_key(|(order, _, _)| *order),
            "name" => found.sort_by_key(|(_, _, name)| name.to_lowercase()),
            "parentId" => {}
            other => return Err(MethodError::UnsupportedSort(format!("mailboxes are not sorted by '{other}'"))),
        }
        if !comparator.is_ascending {
            found.reverse();
        }
    }
    Ok(())
}

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

/// `Mailbox/set` (section 2.5): the set of mailboxes is fixed, so each change is refused by itself.
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

/// The object that a `json!` literal is.
pub fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}
