//! What is known of DNS while one message is checked: handed to the checks as their cache. A question that is not
//! known yet is noted as open, and answered with something harmless for this run.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use mail_auth::{DnsError, DnssecStatus, Error, MX, RecordSet, ResolverCache, Txt};
use parking_lot::Mutex;

use super::question::{Answer, Outcome, Question};
use super::verdict::Lookup;

/// Answers for one message. What is learnt stays, so that all checks of a message see one state of DNS.
pub(super) struct View {
    remote_ip: Option<IpAddr>,
    known: HashMap<Question, Answer>,
    notes: Mutex<Notes>,
    /// No more questions: what is open has failed.
    is_closed: bool,
}

/// What a run of the checks asked.
#[derive(Default)]
struct Notes {
    open: Vec<Question>,
    used: Vec<Question>,
    /// Whether an address or exchange was asked for that could not be found out.
    is_failed: bool,
}

impl View {
    pub(super) fn new(remote_ip: Option<IpAddr>) -> Self {
        Self { remote_ip, known: HashMap::new(), notes: Mutex::default(), is_closed: false }
    }

    pub(super) fn learn(&mut self, question: Question, answer: Answer) {
        self.known.insert(question, answer);
    }

    pub(super) fn known_count(&self) -> usize {
        self.known.len()
    }

    /// From now on, questions not answered count as failed.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// The questions that came up in the last run, each once.
    pub(super) fn take_open(&self) -> Vec<Question> {
        std::mem::take(&mut self.notes.lock().open)
    }

    /// Forgets what was asked so far; before each run.
    pub(super) fn begin_run(&self) {
        *self.notes.lock() = Notes::default();
    }

    /// Whether a lookup failed since this was last called.
    pub(super) fn take_failed(&self) -> bool {
        std::mem::take(&mut self.notes.lock().is_failed)
    }

    /// The lookups of the last run, in order.
    pub(super) fn lookups(&self) -> Vec<Lookup> {
        let notes = self.notes.lock();
        let lookup = |question: &Question| {
            let result = self.known.get(question).map_or("timeout", Answer::word).to_owned();
            Lookup { name: question.name(), kind: question.kind().to_owned(), result }
        };
        notes.used.iter().map(lookup).collect()
    }

    /// The answer, if there is one. Notes the question.
    fn outcome(&self, question: Question) -> Option<&Outcome> {
        let mut notes = self.notes.lock();
        let answer = self.known.get(&question);
        if answer.is_none() && !self.is_closed {
            if !notes.open.contains(&question) {
                notes.open.push(question);
            }
            return None;
        }
        let is_failed = answer.is_none_or(|answer| matches!(answer.outcome, Outcome::Failed(_)));
        notes.is_failed |= is_failed && !matches!(question, Question::Txt(_));
        if !notes.used.contains(&question) {
            notes.used.push(question);
        }
        answer.map(|answer| &answer.outcome)
    }

    /// A set of records: None where there are none, which sends the check to the resolver's own cache of what does
    /// not exist; empty where nobody knows.
    fn records<T>(&self, question: Question, pick: impl Fn(&Outcome) -> Option<Arc<[T]>>) -> Option<RecordSet<T>> {
        let rrset = match self.outcome(question) {
            Some(Outcome::Absent(_)) => return None,
            Some(outcome) => pick(outcome).unwrap_or_else(|| Arc::from([])),
            None => Arc::from([]),
        };
        Some(RecordSet { rrset, dnssec_status: DnssecStatus::Indeterminate })
    }
}

impl ResolverCache<Box<str>, Txt> for View {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        Some(match self.outcome(Question::Txt(spelled(name))) {
            Some(Outcome::Txt(txt)) => txt.clone(),
            Some(Outcome::Absent(error)) => Txt::Error(error.clone()),
            Some(Outcome::Failed(reason)) => Txt::Error(Error::Dns(DnsError::Resolver((*reason).to_owned()))),
            _ => Txt::Error(Error::Dns(DnsError::Resolver("open".to_owned()))),
        })
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

/// The same for a kind of records kept under a name.
macro_rules! records_by_name {
    ($value:ty, $kind:ident) => {
        impl ResolverCache<Box<str>, RecordSet<$value>> for View {
            fn get<Q>(&self, name: &Q) -> Option<RecordSet<$value>>
            where
                Box<str>: Borrow<Q>,
                Q: Hash + Eq + ?Sized,
            {
                self.records(Question::$kind(spelled(name)), |outcome| match outcome {
                    Outcome::$kind(records) => Some(Arc::clone(records)),
                    _ => None,
                })
            }

            fn remove<Q>(&self, _: &Q) -> Option<RecordSet<$value>>
            where
                Box<str>: Borrow<Q>,
                Q: Hash + Eq + ?Sized,
            {
                None
            }

            fn insert(&self, _: Box<str>, _: RecordSet<$value>, _: std::time::Instant) {}
        }
    };
}

records_by_name!(MX, Mx);
records_by_name!(Ipv4Addr, Ipv4);
records_by_name!(Ipv6Addr, Ipv6);

impl ResolverCache<IpAddr, RecordSet<Box<str>>> for View {
    /// Only the client's own address is ever asked for.
    fn get<Q>(&self, _: &Q) -> Option<RecordSet<Box<str>>>
    where
        IpAddr: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.records(Question::Ptr(self.remote_ip?), |outcome| match outcome {
            Outcome::Ptr(names) => Some(Arc::clone(names)),
            _ => None,
        })
    }

    fn remove<Q>(&self, _: &Q) -> Option<RecordSet<Box<str>>>
    where
        IpAddr: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: IpAddr, _: RecordSet<Box<str>>, _: std::time::Instant) {}
}

/// The name in a key that is only known to be hashable: a text's hash writes its bytes.
fn spelled<Q: Hash + ?Sized>(name: &Q) -> Box<str> {
    let mut spelling = Spelling(Vec::with_capacity(64));
    name.hash(&mut spelling);
    // A text ends with 0xff, which is in no UTF-8, so that no text is a prefix of another.
    let end = spelling.0.iter().position(|byte| *byte == 0xff).unwrap_or(spelling.0.len());
    String::from_utf8_lossy(&spelling.0[..end]).into_owned().into_boxed_str()
}

struct Spelling(Vec<u8>);

impl Hasher for Spelling {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_they_are() {
        assert_eq!(&*spelled::<str>("_dmarc.example.org."), "_dmarc.example.org.");
        assert_eq!(&*spelled::<str>(""), "");
    }

    #[test]
    fn an_unknown_name_is_open_once_and_then_known() {
        let mut view = View::new(None);
        view.begin_run();
        for _ in 0..2 {
            let txt: Option<Txt> = view.get::<str>("a.");
            assert!(matches!(txt, Some(Txt::Error(Error::Dns(DnsError::Resolver(_))))));
        }
        assert_eq!(view.take_open(), [Question::Txt("a.".into())]);
        view.learn(Question::Txt("a.".into()), Answer::failed("timeout"));
        view.begin_run();
        let _: Option<Txt> = view.get::<str>("a.");
        assert!(view.take_open().is_empty());
        assert_eq!(view.lookups().len(), 1);
        assert_eq!(view.lookups()[0].result, "timeout");
    }
}
