//! What `Email/set` says to change of one email, as the patch that the log keeps (RFC 8620 section 5.3).

use std::collections::{BTreeMap, BTreeSet};

use millrace_query::mail::EmailVersion;
use millrace_schemas::MailboxPatch;
use serde_json::{Map, Value};

use crate::error::SetError;
use crate::jmap::mailbox;
use crate::jmap::reference::unescape;

/// Keywords of one email.
const MAX_KEYWORDS: usize = 128;

/// Reads an update, and checks that the email stays valid.
///
/// # Errors
/// `invalidProperties` for what cannot be changed or would leave the email in no mailbox, `invalidPatch`,
/// `tooManyKeywords`.
pub fn parse(update: &Map<String, Value>, current: &EmailVersion) -> Result<MailboxPatch, SetError> {
    let mut patch = MailboxPatch::default();
    for (path, value) in update {
        match path.split_once('/') {
            Some((_, name)) if name.contains('/') => {
                return Err(SetError::InvalidPatch(format!(
                    "'{path}' leads into a member; a slash in its name is '~1'"
                )));
            }
            None if path == "keywords" => patch.set_keywords = Some(set(value, path, &keyword)?),
            None if path == "mailboxIds" => patch.set_mailboxes = Some(set(value, path, &mailbox_id)?),
            Some(("keywords", name)) => one(&mut patch.keywords, path, keyword(&unescape(name)), value)?,
            Some(("mailboxIds", name)) => one(&mut patch.mailboxes, path, mailbox_id(&unescape(name)), value)?,
            // What a client sends back unchanged (RFC 8620 section 5.3).
            None if is_as_it_is(path, value, current) => {}
            _ => return Err(SetError::invalid(path, "only keywords and mailboxIds of an email can be changed")),
        }
    }
    let is_both = patch.set_keywords.is_some() && !patch.keywords.is_empty()
        || patch.set_mailboxes.is_some() && !patch.mailboxes.is_empty();
    if is_both {
        return Err(SetError::InvalidPatch("a property is replaced and patched at once".into()));
    }
    if after(&current.mailboxes, patch.set_mailboxes.as_deref(), &patch.mailboxes).is_empty() {
        return Err(SetError::invalid("mailboxIds", "an email is in at least one mailbox; destroy it to remove it"));
    }
    if after(&current.keywords, patch.set_keywords.as_deref(), &patch.keywords).len() > MAX_KEYWORDS {
        return Err(SetError::TooManyKeywords(MAX_KEYWORDS));
    }
    Ok(patch)
}

/// Whether a property that the server sets has the value that it has already.
fn is_as_it_is(property: &str, value: &Value, current: &EmailVersion) -> bool {
    match property {
        "id" => *value == *current.email_id,
        "threadId" => *value == *current.thread_id,
        "size" => *value == current.size_bytes,
        _ => false,
    }
}

/// Whether a patch says nothing.
pub fn is_empty(patch: &MailboxPatch) -> bool {
    *patch == MailboxPatch::default()
}

/// Reads `{"a": true, …}`.
fn set(
    value: &Value,
    property: &str,
    check: &dyn Fn(&str) -> Result<String, SetError>,
) -> Result<Vec<String>, SetError> {
    let bad = || SetError::invalid(property, "this is not an object whose values are all true");
    let object = value.as_object().ok_or_else(bad)?;
    let names: Result<BTreeSet<String>, SetError> =
        object.iter().map(|(name, value)| if *value == Value::Bool(true) { check(name) } else { Err(bad()) }).collect();
    Ok(names?.into_iter().collect())
}

/// Reads one patched member: `true` puts it in, `null` takes it out.
fn one(
    members: &mut BTreeMap<String, bool>,
    path: &str,
    name: Result<String, SetError>,
    value: &Value,
) -> Result<(), SetError> {
    let is_in = match value {
        Value::Bool(true) => true,
        Value::Null => false,
        _ => return Err(SetError::invalid(path, "a member is set to true or removed by null")),
    };
    match members.insert(name?, is_in) {
        None => Ok(()),
        Some(_) => Err(SetError::InvalidPatch(format!("'{path}' is patched twice"))),
    }
}

/// A keyword in lower case (RFC 8621 section 4.1.1).
fn keyword(name: &str) -> Result<String, SetError> {
    let is_char = |byte: u8| byte.is_ascii_graphic() && !br#"(){]%*"\"#.contains(&byte);
    if (1..=255).contains(&name.len()) && name.bytes().all(is_char) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(SetError::invalid("keywords", format!("'{name}' cannot be a keyword")))
    }
}

fn mailbox_id(id: &str) -> Result<String, SetError> {
    if mailbox::exists(id) {
        Ok(id.to_owned())
    } else {
        Err(SetError::invalid("mailboxIds", format!("there is no mailbox '{id}'")))
    }
}

fn after<'a, T: AsRef<str>>(
    current: &'a [T],
    replaced: Option<&'a [String]>,
    patched: &'a BTreeMap<String, bool>,
) -> BTreeSet<&'a str> {
    let mut members: BTreeSet<&str> = match replaced {
        Some(replaced) => replaced.iter().map(String::as_str).collect(),
        None => current.iter().map(AsRef::as_ref).collect(),
    };
    for (name, is_in) in patched {
        if *is_in {
            members.insert(name);
        } else {
            members.remove(name.as_str());
        }
    }
    members
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn parsed(update: Value) -> Result<MailboxPatch, SetError> {
        let current = EmailVersion {
            email_id: "e1".into(),
            thread_id: "t1".into(),
            received_at_us: 0,
            size_bytes: 7,
            mailboxes: vec!["inbox".into()],
            keywords: Vec::new(),
            is_destroyed: false,
            seq: 1,
            created_seq: 1,
            has_crossed: false,
            facts: None,
        };
        parse(update.as_object().unwrap(), &current)
    }

    #[test]
    fn what_the_server_set_may_come_back_as_it_is_and_not_otherwise() {
        assert!(is_empty(&parsed(json!({ "id": "e1", "threadId": "t1", "size": 7 })).unwrap()));
        for other in [json!({ "id": "e2" }), json!({ "size": 8 }), json!({ "subject": "new" })] {
            assert!(matches!(parsed(other), Err(SetError::InvalidProperties { .. })));
        }
    }

    #[test]
    fn a_path_into_a_member_is_no_patch_and_a_slash_is_escaped() {
        assert!(matches!(parsed(json!({ "keywords/a/b": true })), Err(SetError::InvalidPatch(_))));
        assert!(parsed(json!({ "keywords/a~1b": true })).unwrap().keywords.contains_key("a/b"));
    }
}
