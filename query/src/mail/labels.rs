//! Mailbox ids and keywords: small sorted sets of text that repeats.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// A set of mailbox ids or keywords, sorted and without repeats.
pub type Labels = Vec<Arc<str>>;

/// The keyword of mail that was read (RFC 8621, 4.1.1).
pub const SEEN: &str = "$seen";
/// The keyword of a draft.
pub const DRAFT: &str = "$draft";
/// The mailbox whose mail does not count as unread elsewhere (RFC 8621, 2).
pub const TRASH: &str = "trash";

/// The mailboxes every account has; the id is the role.
pub const ROLES: [&str; 6] = ["inbox", "junk", "drafts", "sent", "trash", "archive"];

const COMMON: [&str; 9] =
    [SEEN, DRAFT, "$flagged", "$answered", "$forwarded", "$junk", "$notjunk", "$phishing", "$mdnsent"];

/// One copy of the labels that nearly all mail has.
static SHARED: LazyLock<HashMap<&'static str, Arc<str>>> =
    LazyLock::new(|| ROLES.into_iter().chain(COMMON).map(|label| (label, Arc::from(label))).collect());

pub(crate) fn label(text: &str) -> Arc<str> {
    SHARED.get(text).cloned().unwrap_or_else(|| Arc::from(text))
}

pub(crate) fn labels<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Labels {
    let mut labels: Labels = texts.into_iter().map(|text| label(text.as_ref())).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// Adds or removes one.
pub(crate) fn set(labels: &mut Labels, text: &str, is_in: bool) {
    match (labels.binary_search_by(|held| (**held).cmp(text)), is_in) {
        (Err(place), true) => labels.insert(place, label(text)),
        (Ok(place), false) => drop(labels.remove(place)),
        _ => {}
    }
}

pub(crate) fn has(labels: &Labels, text: &str) -> bool {
    labels.iter().any(|held| &**held == text)
}

pub(crate) fn to_json(labels: &Labels) -> String {
    let texts: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
    serde_json::to_string(&texts).expect("a list of text is JSON")
}

pub(crate) fn from_json(text: &str) -> Result<Labels, serde_json::Error> {
    Ok(labels(serde_json::from_str::<Vec<String>>(text)?))
}
