//! `Mailbox/query` and `Mailbox/queryChanges` (RFC 8621 sections 2.3 and 2.4).

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::MAILBOXES;
use super::filter::matches;
use crate::error::MethodError;
use crate::jmap::arguments::{self, Comparator, object};
use crate::jmap::dispatch::Call;
use crate::jmap::paging::Paging;

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

/// Mailboxes form no tree, so `sortAsTree` and `filterAsTree` change nothing.
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

/// There never are any.
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
