//! What changed in an account since a state (RFC 8620, 5.2).

use std::sync::Arc;

use super::view::AccountView;

/// Ids of what changed; the lists are disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub created: Vec<Arc<str>>,
    pub updated: Vec<Arc<str>>,
    /// Emails that were created and destroyed since are in no list.
    pub destroyed: Vec<Arc<str>>,
    /// The state that a client is in which takes these changes in.
    pub new_state: u64,
    /// There are more changes after `new_state`.
    pub has_more: bool,
}

/// The state is not one that the account was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the changes since that state cannot be calculated")]
pub struct CannotCalculate;

/// Walks the events after `state` in the order of the log: the creation of each email that is new since then, and the
/// newest change of each that was there. A page that ends between the creation of an email and its newest change tells
/// the creation; the next page tells the change. So no client hears of a change to an email it was never told of.
pub(super) fn since(view: &AccountView, state: u64, max: usize) -> Result<Changes, CannotCalculate> {
    if state > view.state {
        return Err(CannotCalculate);
    }
    let mut created = view.by_creation.range(state..).peekable();
    let mut changed = view.by_change.range(state..).filter(|(_, version)| version.created_seq < state).peekable();
    let mut page = Changes { new_state: view.state, ..Changes::default() };
    let mut left = max.max(1);
    loop {
        let is_creation = match (created.peek(), changed.peek()) {
            (Some((creation, _)), Some((change, _))) => creation < change,
            (None, None) => break,
            (creation, _) => creation.is_some(),
        };
        if left == 0 {
            let next =
                if is_creation { created.peek().map(|(seq, _)| **seq) } else { changed.peek().map(|(seq, _)| **seq) };
            page.new_state = next.unwrap_or(view.state);
            page.has_more = true;
            break;
        }
        left -= 1;
        if is_creation {
            page.created.extend(created.next().map(|(_, email_id)| email_id.clone()));
        } else if let Some((_, version)) = changed.next() {
            let list = if version.is_destroyed { &mut page.destroyed } else { &mut page.updated };
            list.push(version.email_id.clone());
        }
    }
    Ok(page)
}
