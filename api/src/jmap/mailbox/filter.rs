//! The filter of `Mailbox/query` (RFC 8621 section 2.3).

use serde::Deserialize;
use serde_json::Value;

use crate::error::MethodError;

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

/// Whether a mailbox is in the results.
///
/// # Errors
/// `unsupportedFilter` for what is no filter of mailboxes.
pub(super) fn matches(filter: &Value, role: &str, name: &str) -> Result<bool, MethodError> {
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
