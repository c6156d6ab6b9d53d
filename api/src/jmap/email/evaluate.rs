//! Evaluates a filter, reading as little as the filter needs: the view first, then facts, then whole headers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use millrace_query::mail::{AccountView, EmailVersion, Facts};

use super::filter::{Filter, Filters, Test};
use super::get::{facts_of, read_body};
use super::header;
use crate::error::MethodError;
use crate::jmap::dispatch::Call;
use crate::mime::fields;

/// Facts are read for this many emails at a time.
pub(super) const CHUNK: usize = 2_000;
/// A filter on a header field that only the message itself has reads at most this many messages.
const MAX_BODIES: usize = 500;
const CONCURRENT_BODIES: usize = 4;

/// What an email is tested on. What is `None` has not been read.
#[derive(Clone, Copy)]
struct Known<'a> {
    view: &'a AccountView,
    texts: &'a [HashSet<Arc<str>>],
    facts: Option<&'a Facts>,
    headers: Option<&'a [(String, String)]>,
}

/// The live emails that match, newest first.
pub(super) async fn find(
    call: &Call<'_>,
    view: &AccountView,
    filters: &Filters,
) -> Result<Vec<Arc<EmailVersion>>, MethodError> {
    let texts = search(call, filters).await?;
    let known = Known { view, texts: &texts, facts: None, headers: None };
    // Every email that matches, or that might once more is known of it.
    let mut found: Vec<(Arc<EmailVersion>, bool)> = Vec::new();
    for email in view.iter_newest_first() {
        match known.matches(&filters.filter, email) {
            Some(false) => {}
            answer => found.push((email.clone(), answer.is_some())),
        }
    }
    if found.iter().any(|(_, is_sure)| !is_sure) {
        found = with_facts(call, known, &filters.filter, found).await?;
    }
    if found.iter().any(|(_, is_sure)| !is_sure) {
        found = with_headers(call, known, &filters.filter, found).await?;
    }
    Ok(found.into_iter().map(|(email, _)| email).collect())
}

async fn search(call: &Call<'_>, filters: &Filters) -> Result<Vec<HashSet<Arc<str>>>, MethodError> {
    let mut texts = Vec::with_capacity(filters.texts.len());
    for text in &filters.texts {
        let ids = call.api.mailboxes.search(&call.account.id, text).await?;
        texts.push(ids.into_iter().collect());
    }
    Ok(texts)
}

type Candidates = Vec<(Arc<EmailVersion>, bool)>;

async fn with_facts(
    call: &Call<'_>,
    known: Known<'_>,
    filter: &Filter,
    candidates: Candidates,
) -> Result<Candidates, MethodError> {
    let mut found = Vec::with_capacity(candidates.len());
    for chunk in candidates.chunks(CHUNK) {
        let unsure: Vec<_> = chunk.iter().filter(|(_, is_sure)| !is_sure).map(|(email, _)| email.clone()).collect();
        let facts = if unsure.is_empty() { HashMap::new() } else { facts_of(call, &unsure).await? };
        for (email, is_sure) in chunk {
            let answer = if *is_sure {
                Some(true)
            } else {
                match facts.get(&*email.email_id) {
                    Some(facts) => Known { facts: Some(facts), ..known }.matches(filter, email),
                    None => Some(false),
                }
            };
            if answer != Some(false) {
                found.push((email.clone(), answer.is_some()));
            }
        }
    }
    Ok(found)
}

async fn with_headers(
    call: &Call<'_>,
    known: Known<'_>,
    filter: &Filter,
    candidates: Candidates,
) -> Result<Candidates, MethodError> {
    let unsure: Vec<_> = candidates.iter().filter(|(_, is_sure)| !is_sure).map(|(email, _)| email.clone()).collect();
    if unsure.len() > MAX_BODIES {
        let why = format!(
            "this header field would have to be read from {} messages; narrow it to {MAX_BODIES} with other conditions",
            unsure.len()
        );
        return Err(MethodError::UnsupportedFilter(why));
    }
    let facts = facts_of(call, &unsure).await?;
    let reads: Vec<_> = facts.values().map(|facts| headers_of(call, facts)).collect();
    let mut read = futures::stream::iter(reads).buffer_unordered(CONCURRENT_BODIES);
    let mut headers = HashMap::new();
    while let Some(one) = read.next().await {
        let (email_id, fields) = one?;
        headers.insert(email_id, fields);
    }
    let matches = |email: &EmailVersion| {
        let id = &*email.email_id;
        let known =
            Known { facts: facts.get(id).map(AsRef::as_ref), headers: headers.get(id).map(Vec::as_slice), ..known };
        known.matches(filter, email).unwrap_or(false)
    };
    Ok(candidates
        .into_iter()
        .filter(|(email, is_sure)| *is_sure || matches(email))
        .map(|(email, _)| (email, true))
        .collect())
}

/// Email id, and names and decoded values of its fields. None of a body that is damaged.
async fn headers_of(call: &Call<'_>, facts: &Facts) -> Result<(String, Vec<(String, String)>), MethodError> {
    let fields = match read_body(call.api, facts).await {
        Ok(body) => {
            let (fields, _) = fields::split(&body);
            fields.iter().map(|field| (field.name.to_owned(), header::text(field.value))).collect()
        }
        Err(MethodError::ServerFail) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok((facts.email_id.clone(), fields))
}

impl Known<'_> {
    /// `None` when it depends on what has not been read (Kleene's logic).
    fn matches(self, filter: &Filter, email: &EmailVersion) -> Option<bool> {
        match filter {
            Filter::And(filters) => self.all(filters, email),
            Filter::Or(filters) => self.any(filters, email),
            Filter::Not(filters) => self.any(filters, email).map(|matched| !matched),
            Filter::Test(test) => self.passes(test, email),
        }
    }

    fn all(self, filters: &[Filter], email: &EmailVersion) -> Option<bool> {
        let mut answer = Some(true);
        for filter in filters {
            match self.matches(filter, email) {
                Some(false) => return Some(false),
                Some(true) => {}
                None => answer = None,
            }
        }
        answer
    }

    fn any(self, filters: &[Filter], email: &EmailVersion) -> Option<bool> {
        let mut answer = Some(false);
        for filter in filters {
            match self.matches(filter, email) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => answer = None,
            }
        }
        answer
    }

    fn passes(self, test: &Test, email: &EmailVersion) -> Option<bool> {
        Some(match test {
            Test::InMailbox(mailbox) => email.is_in(mailbox),
            Test::InMailboxOtherThan(others) => {
                email.mailboxes.iter().any(|mailbox| !others.iter().any(|other| **mailbox == **other))
            }
            Test::ReceivedBefore(at_us) => email.received_at_us < *at_us,
            Test::ReceivedFrom(at_us) => email.received_at_us >= *at_us,
            Test::SizeFrom(bytes) => email.size_bytes >= *bytes,
            Test::SizeBelow(bytes) => email.size_bytes < *bytes,
            Test::HasKeyword(keyword) => has_keyword(email, keyword),
            Test::NotKeyword(keyword) => !has_keyword(email, keyword),
            Test::AllInThreadHaveKeyword(keyword) => all_in_thread(self.view, email, keyword),
            Test::SomeInThreadHaveKeyword(keyword) => some_in_thread(self.view, email, keyword),
            Test::NoneInThreadHaveKeyword(keyword) => !some_in_thread(self.view, email, keyword),
            Test::Text(index) => self.texts.get(*index).is_some_and(|ids| ids.contains(&*email.email_id)),
            Test::HasAttachment(wanted) => self.facts?.summary.has_attachment == *wanted,
            Test::Header { name, text } => self.has_header(name, text.as_deref())?,
        })
    }

    fn has_header(self, name: &str, text: Option<&str>) -> Option<bool> {
        let text = text.map(str::to_lowercase);
        let mut values = self.headers?.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        Some(values.any(|(_, value)| text.as_ref().is_none_or(|text| value.to_lowercase().contains(text))))
    }
}

pub(super) fn has_keyword(email: &EmailVersion, keyword: &str) -> bool {
    email.keywords.iter().any(|held| **held == *keyword)
}

fn in_thread<'a>(view: &'a AccountView, email: &EmailVersion) -> impl Iterator<Item = &'a Arc<EmailVersion>> {
    view.thread(&email.thread_id).into_iter().flatten().filter_map(|id| view.get(&id))
}

pub(super) fn all_in_thread(view: &AccountView, email: &EmailVersion, keyword: &str) -> bool {
    in_thread(view, email).all(|email| has_keyword(email, keyword))
}

pub(super) fn some_in_thread(view: &AccountView, email: &EmailVersion, keyword: &str) -> bool {
    in_thread(view, email).any(|email| has_keyword(email, keyword))
}
