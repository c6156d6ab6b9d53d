//! States as clients see them: the position in the account's changes, as a decimal string.

use millrace_query::mail::{AccountView, Changes};

use crate::error::MethodError;

/// Reads a state that a client got from us.
///
/// # Errors
/// `cannotCalculateChanges` for a string that never was a state.
pub fn parse(state: &str) -> Result<u64, MethodError> {
    let is_ours = !state.is_empty() && state.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if is_ours { state.parse().ok() } else { None };
    parsed.ok_or_else(|| MethodError::CannotCalculateChanges(format!("'{state}' is not a state of this account")))
}

/// Reads a state that the account was in.
///
/// # Errors
/// `cannotCalculateChanges` for one that never was, or lies ahead.
pub fn past(view: &AccountView, state: &str) -> Result<u64, MethodError> {
    let since = parse(state)?;
    if since > view.state {
        return Err(MethodError::CannotCalculateChanges(format!("'{state}' lies ahead of this account's state")));
    }
    Ok(since)
}

/// What changed since a state, at most `max` emails.
///
/// # Errors
/// `cannotCalculateChanges` when the state lies ahead or too far back.
pub fn changes_since(view: &AccountView, state: &str, max: usize) -> Result<Changes, MethodError> {
    view.changes_since(past(view, state)?, max).map_err(|error| MethodError::CannotCalculateChanges(error.to_string()))
}
