//! The order of `Email/query` (RFC 8621 section 4.4.2).

use std::cmp::Ordering;
use std::sync::Arc;

use mail_parser::parsers::fields::thread::thread_name;
use millrace_query::mail::{AccountView, Address, EmailVersion, Facts};

use super::evaluate::{CHUNK, all_in_thread, has_keyword, some_in_thread};
use super::get::facts_of;
use crate::error::MethodError;
use crate::jmap::arguments::Comparator;
use crate::jmap::dispatch::Call;

/// What an email is sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    ReceivedAt,
    Size,
    From,
    To,
    Subject,
    SentAt,
    HasKeyword(String),
    AllInThreadHaveKeyword(String),
    SomeInThreadHaveKeyword(String),
}

#[derive(Clone, Debug)]
pub(super) struct Sort {
    keys: Vec<(Key, bool)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Number(i64),
    Text(String),
}

impl Sort {
    /// # Errors
    /// `unsupportedSort` for a property or collation that we do not have, `invalidArguments` for a missing keyword.
    pub(super) fn parse(comparators: &[Comparator]) -> Result<Self, MethodError> {
        if comparators.len() > 16 {
            return Err(MethodError::UnsupportedSort("at most 16 properties are sorted by".into()));
        }
        Ok(Self { keys: comparators.iter().map(key).collect::<Result<_, _>>()? })
    }

    /// Whether the order of an email may change by a change to another one.
    pub(super) fn is_by_thread(&self) -> bool {
        self.keys.iter().any(|(key, _)| matches!(key, Key::AllInThreadHaveKeyword(_) | Key::SomeInThreadHaveKeyword(_)))
    }

    /// Whether it sorts by nothing that can change.
    pub(super) fn is_fixed(&self) -> bool {
        !self.is_by_thread() && !self.keys.iter().any(|(key, _)| matches!(key, Key::HasKeyword(_)))
    }

    /// Sorts emails that come newest first; emails that are equal keep this order.
    pub(super) async fn apply(
        &self,
        call: &Call<'_>,
        view: &AccountView,
        emails: Vec<Arc<EmailVersion>>,
    ) -> Result<Vec<Arc<EmailVersion>>, MethodError> {
        let is_newest_first = matches!(self.keys.as_slice(), [] | [(Key::ReceivedAt, false)]);
        if is_newest_first {
            return Ok(emails);
        }
        let needs_facts = self.keys.iter().any(|(key, _)| key.needs_facts());
        let mut ranked = Vec::with_capacity(emails.len());
        for chunk in emails.chunks(CHUNK) {
            let facts = if needs_facts { Some(facts_of(call, chunk).await?) } else { None };
            for email in chunk {
                let facts = facts.as_ref().and_then(|facts| facts.get(&*email.email_id)).map(AsRef::as_ref);
                let ranks: Vec<Rank> = self.keys.iter().map(|(key, _)| key.rank(view, email, facts)).collect();
                ranked.push((ranks, email.clone()));
            }
        }
        ranked.sort_by(|(a, _), (b, _)| self.compare(a, b));
        Ok(ranked.into_iter().map(|(_, email)| email).collect())
    }

    fn compare(&self, a: &[Rank], b: &[Rank]) -> Ordering {
        let pairs = a.iter().zip(b).zip(&self.keys);
        pairs
            .map(|((a, b), (_, is_ascending))| if *is_ascending { a.cmp(b) } else { b.cmp(a) })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

fn key(comparator: &Comparator) -> Result<(Key, bool), MethodError> {
    if let Some(collation) = &comparator.collation
        && !["i;ascii-casemap", "i;unicode-casemap"].contains(&collation.as_str())
    {
        return Err(MethodError::UnsupportedSort(format!("the collation '{collation}' is not known")));
    }
    let keyword = || {
        let keyword = comparator.keyword.as_deref().map(str::to_ascii_lowercase);
        keyword.ok_or_else(|| MethodError::invalid(format!("'{}' needs a 'keyword'", comparator.property)))
    };
    let key = match comparator.property.as_str() {
        "receivedAt" => Key::ReceivedAt,
        "size" => Key::Size,
        "from" => Key::From,
        "to" => Key::To,
        "subject" => Key::Subject,
        "sentAt" => Key::SentAt,
        "hasKeyword" => Key::HasKeyword(keyword()?),
        "allInThreadHaveKeyword" => Key::AllInThreadHaveKeyword(keyword()?),
        "someInThreadHaveKeyword" => Key::SomeInThreadHaveKeyword(keyword()?),
        other => return Err(MethodError::UnsupportedSort(format!("emails are not sorted by '{other}'"))),
    };
    Ok((key, comparator.is_ascending))
}

impl Key {
    fn needs_facts(&self) -> bool {
        matches!(self, Self::From | Self::To | Self::Subject | Self::SentAt)
    }

    fn rank(&self, view: &AccountView, email: &EmailVersion, facts: Option<&Facts>) -> Rank {
        let text = |text: Option<String>| Rank::Text(text.unwrap_or_default().to_lowercase());
        match self {
            Self::ReceivedAt => Rank::Number(email.received_at_us),
            Self::Size => Rank::Number(email.size_bytes),
            Self::From => text(facts.and_then(|facts| first(&facts.summary.from))),
            Self::To => text(facts.and_then(|facts| first(&facts.summary.to))),
            Self::Subject => {
                let subject = facts.and_then(|facts| facts.summary.subject.as_deref());
                text(subject.map(|subject| thread_name(subject).to_owned()))
            }
            Self::SentAt => Rank::Number(facts.and_then(|facts| facts.sent_at_us).unwrap_or(i64::MIN)),
            Self::HasKeyword(keyword) => Rank::Number(has_keyword(email, keyword).into()),
            Self::AllInThreadHaveKeyword(keyword) => Rank::Number(all_in_thread(view, email, keyword).into()),
            Self::SomeInThreadHaveKeyword(keyword) => Rank::Number(some_in_thread(view, email, keyword).into()),
        }
    }
}

/// Name, or else address, of the first.
fn first(addresses: &[Address]) -> Option<String> {
    let first = addresses.first()?;
    Some(first.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| first.email.clone()))
}
