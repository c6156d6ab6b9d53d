//! `Thread/changes` (RFC 8621 section 3.2): a thread changes when an email joins or leaves it.

use std::collections::{BTreeSet, HashSet};

use millrace_query::mail::{AccountView, EmailVersion};
use serde_json::{Map, Value, json};

use crate::error::MethodError;
use crate::jmap::arguments::{self, ChangesArguments, object};
use crate::jmap::dispatch::Call;
use crate::jmap::state;

pub async fn changes(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: ChangesArguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    if asked.max_changes == Some(0) {
        return Err(MethodError::invalid("'maxChanges' is 0"));
    }
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let since = state::past(&view, &asked.since_state)?;
    let most = asked.max_changes.unwrap_or(usize::MAX).min(call.api.options.max_query_limit);
    let page = page(&view, since, most);
    Ok(object(json!({
        "accountId": call.account.id,
        "oldState": asked.since_state,
        "newState": page.new_state.to_string(),
        "hasMoreChanges": page.new_state < view.state,
        "created": page.created,
        "updated": page.updated,
        "destroyed": page.destroyed,
    })))
}

/// What became of threads between a state and `new_state`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page<'a> {
    created: Vec<&'a str>,
    updated: Vec<&'a str>,
    destroyed: Vec<&'a str>,
    new_state: u64,
}

/// The changes after `since` to at most `max` threads, in the order of the log.
fn page(view: &AccountView, since: u64, max: usize) -> Page<'_> {
    let mut events: Vec<(u64, &str)> = view.versions_since(since).flat_map(|version| events(version, since)).collect();
    events.sort_unstable();
    let mut touched = BTreeSet::new();
    let mut new_state = view.state;
    for (seq, thread_id) in events {
        if touched.len() == max.max(1) && !touched.contains(thread_id) {
            new_state = seq;
            break;
        }
        touched.insert(thread_id);
    }
    let (before, after) = (Threads::at(view, since, since), Threads::at(view, since, new_state));
    let mut page = Page { new_state, ..Page::default() };
    for thread_id in touched {
        match (before.has(thread_id), after.has(thread_id)) {
            (false, true) => page.created.push(thread_id),
            (true, true) => page.updated.push(thread_id),
            (true, false) => page.destroyed.push(thread_id),
            // All of it came and went in between.
            (false, false) => {}
        }
    }
    page
}

/// When, after `since`, the email joined its thread and left it.
fn events(version: &EmailVersion, since: u64) -> impl Iterator<Item = (u64, &str)> {
    let joined = (version.created_seq >= since).then_some(version.created_seq);
    let left = version.is_destroyed.then_some(version.seq);
    joined.into_iter().chain(left).map(|seq| (seq, &*version.thread_id))
}

/// The threads that there were at a state.
struct Threads<'a> {
    view: &'a AccountView,
    state: u64,
    /// Those with an email that was there then and is destroyed now.
    of_destroyed: HashSet<&'a str>,
}

impl<'a> Threads<'a> {
    /// `state` is `since` or later; only of threads that changed after `since` is anything asked.
    fn at(view: &'a AccountView, since: u64, state: u64) -> Self {
        let was_there =
            |version: &EmailVersion| version.is_destroyed && version.created_seq < state && state <= version.seq;
        let versions = view.versions_since(since).filter(|version| was_there(version));
        Self { view, state, of_destroyed: versions.map(|version| &*version.thread_id).collect() }
    }

    fn has(&self, thread_id: &str) -> bool {
        let emails = || self.view.thread(thread_id).unwrap_or_default();
        let is_older = |email: &EmailVersion| email.created_seq < self.state;
        self.of_destroyed.contains(thread_id)
            || emails().iter().filter_map(|email_id| self.view.get(email_id)).any(|email| is_older(email))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn version(email: usize, thread: usize, created_seq: u64, seq: u64, is_destroyed: bool) -> EmailVersion {
        EmailVersion {
            email_id: format!("e{email}").into(),
            thread_id: format!("t{thread}").into(),
            received_at_us: 0,
            size_bytes: 1,
            mailboxes: Vec::new(),
            keywords: Vec::new(),
            is_destroyed,
            seq,
            created_seq,
            has_crossed: false,
            facts: None,
        }
    }

    /// What a client holds: the emails of each thread.
    type Held = BTreeMap<String, BTreeSet<String>>;

    /// The view after these steps (an email joins a thread, changes, or is destroyed), and what a client holds that
    /// read everything at each state.
    fn history(steps: &[(usize, usize, u8)]) -> (AccountView, Vec<Held>) {
        let mut newest: BTreeMap<usize, EmailVersion> = BTreeMap::new();
        let (mut states, mut held) = (vec![Held::new()], Held::new());
        for (seq, (pick, thread, kind)) in steps.iter().enumerate() {
            let (seq, live) = (seq as u64, newest.values().filter(|version| !version.is_destroyed).count());
            match newest.values_mut().filter(|version| !version.is_destroyed).nth(pick % live.max(1)) {
                Some(version) if *kind > 0 => {
                    (version.seq, version.is_destroyed) = (seq, *kind > 1);
                    if version.is_destroyed {
                        let emails = held.get_mut(&*version.thread_id).unwrap();
                        emails.remove(&*version.email_id);
                    }
                }
                _ => {
                    let email = newest.len();
                    newest.insert(email, version(email, *thread, seq, seq, false));
                    held.entry(format!("t{thread}")).or_default().insert(format!("e{email}"));
                }
            }
            held.retain(|_, emails| !emails.is_empty());
            states.push(held.clone());
        }
        (newest.into_values().collect(), states)
    }

    fn emails(view: &AccountView, thread_id: &str) -> BTreeSet<String> {
        view.thread(thread_id).unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    proptest! {
        /// A client that follows the changes from any state, in pages, ends up with the threads that there are, and is
        /// never told of what it could not know.
        #[test]
        fn following_the_changes_leads_to_what_is_there(
            steps in prop::collection::vec((0usize..8, 0usize..4, 0u8..4), 1..40),
            max in 1usize..4,
        ) {
            let (view, states) = history(&steps);
            for (since, start) in states.iter().enumerate() {
                let (mut state, mut held) = (since as u64, start.clone());
                loop {
                    let page = page(&view, state, max);
                    prop_assert!(page.created.len() + page.updated.len() + page.destroyed.len() <= max);
                    for id in &page.created {
                        prop_assert!(held.insert((*id).to_owned(), emails(&view, id)).is_none(), "{} created twice", id);
                    }
                    for id in &page.updated {
                        prop_assert!(held.insert((*id).to_owned(), emails(&view, id)).is_some(), "{} is unknown", id);
                    }
                    for id in &page.destroyed {
                        prop_assert!(held.remove(*id).is_some(), "{} is unknown", id);
                    }
                    prop_assert!(page.new_state > state || page.new_state == view.state, "no progress");
                    state = page.new_state;
                    if state == view.state {
                        break;
                    }
                }
                prop_assert_eq!(&held, states.last().unwrap(), "since {}", since);
            }
        }

        /// One page tells what is different, and nothing else.
        #[test]
        fn one_page_tells_exactly_what_changed(
            steps in prop::collection::vec((0usize..8, 0usize..4, 0u8..4), 1..40),
        ) {
            let (view, states) = history(&steps);
            let end = states.last().unwrap();
            for (since, start) in states.iter().enumerate() {
                let page = page(&view, since as u64, usize::MAX);
                let created: Vec<&String> = end.keys().filter(|id| !start.contains_key(*id)).collect();
                let destroyed: Vec<&String> = start.keys().filter(|id| !end.contains_key(*id)).collect();
                prop_assert_eq!(page.created, created);
                prop_assert_eq!(page.destroyed, destroyed);
                let mut differ = start.iter().filter(|(id, emails)| end.get(*id).is_some_and(|now| now != *emails));
                prop_assert!(differ.all(|(id, _)| page.updated.contains(&id.as_str())));
                prop_assert!(page.updated.iter().all(|id| start.contains_key(*id) && end.contains_key(*id)));
            }
        }
    }
}
