//! The resolver: where questions go, how long an answer may take, how long it is kept.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError as Refusal, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use mail_auth::{DnsError as CheckError, Error, MX, MessageAuthenticator};
use parking_lot::Mutex;

use super::breaker::{Breaker, Leave};
use super::known::Known;
use super::question::{Answer, Outcome, Question, parse_txt};

/// One try of a question, and how often it is repeated.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
const REPEATS: usize = 1;
const RESOLVER_CACHE: u64 = 20_000;
const MAX_KEEP: Duration = Duration::from_secs(3600);
/// How long a failure is remembered: short enough to see a repair, long enough not to ask for every message.
const KEEP_FAILURE: Duration = Duration::from_secs(30);
/// Answers that name no time (negative, without SOA).
const KEEP_ABSENT: Duration = Duration::from_secs(60);
const MAX_RECORDS: usize = 50;

/// Whom to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dns {
    /// The system's resolver (`/etc/resolv.conf`).
    #[default]
    System,
    /// This one, UDP and TCP.
    Server(SocketAddr),
    /// Nobody: what needs DNS is a `temperror`.
    Off,
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error(
        "the system's resolver configuration cannot be used: {0}; name a resolver's address instead, or turn DNS off"
    )]
    System(NetError),
    #[error("the resolver cannot be started: {0}")]
    Start(NetError),
}

type Asking = Shared<BoxFuture<'static, Answer>>;

/// Answers questions, each from what is known if it can.
pub(super) struct Resolver {
    checker: MessageAuthenticator,
    is_off: bool,
    known: Arc<Known>,
    breaker: Arc<Breaker>,
    /// Questions under way: asked once for all messages that wait for them.
    asking: Mutex<HashMap<Question, WeakShared<BoxFuture<'static, Answer>>>>,
}

impl Resolver {
    pub(super) fn new(dns: &Dns) -> Result<Self, DnsError> {
        let (config, mut options) = match dns {
            Dns::System => read_system_conf().map_err(DnsError::System)?,
            Dns::Server(address) => (only(*address), ResolverOpts::default()),
            Dns::Off => (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default()),
        };
        options.timeout = TRY_TIMEOUT;
        options.attempts = REPEATS;
        options.cache_size = RESOLVER_CACHE;
        options.use_hosts_file = ResolveHosts::Never;
        options.negative_min_ttl = Some(KEEP_ABSENT);
        let checker = MessageAuthenticator::new(config, options).map_err(DnsError::Start)?;
        let is_off = *dns == Dns::Off;
        Ok(Self { checker, is_off, known: Arc::new(Known::new()), breaker: Arc::default(), asking: Mutex::default() })
    }

    /// The checks, over this resolver.
    pub(super) fn checker(&self) -> &MessageAuthenticator {
        &self.checker
    }

    pub(super) async fn answer(&self, question: &Question) -> Answer {
        if self.is_off {
            return Answer::failed("off");
        }
        if let Some(answer) = self.known.get(question) {
            return answer;
        }
        self.join(question).await
    }

    /// Joins a question under way, or starts it.
    fn join(&self, question: &Question) -> Asking {
        let mut asking = self.asking.lock();
        if let Some(under_way) = asking.get(question).and_then(WeakShared::upgrade)
            && under_way.peek().is_none()
        {
            return under_way;
        }
        let work = ask(self.checker.clone(), Arc::clone(&self.known), Arc::clone(&self.breaker), question.clone());
        let started = work.boxed().shared();
        asking.retain(|_, other| other.upgrade().is_some_and(|other| other.peek().is_none()));
        asking.extend(started.downgrade().map(|weak| (question.clone(), weak)));
        started
    }
}

async fn ask(checker: MessageAuthenticator, known: Arc<Known>, breaker: Arc<Breaker>, question: Question) -> Answer {
    match breaker.leave() {
        Leave::Ask => {}
        Leave::Fail => return Answer::failed("resolver down"),
        Leave::Probe => {
            let is_answered = is_answer(&checker.resolver().lookup(Name::root(), RecordType::NS).await);
            breaker.probed(is_answered);
            if !is_answered {
                return Answer::failed("resolver down");
            }
        }
    }
    let result = look_up(&checker, &question).await;
    if is_answer(&result) {
        breaker.answered()
    } else {
        breaker.timed_out()
    }
    let answer = read(&question, result);
    known.put(question, &answer);
    answer
}

async fn look_up(checker: &MessageAuthenticator, question: &Question) -> Result<Lookup, NetError> {
    let resolver = checker.resolver();
    let (name, kind) = match question {
        Question::Ptr(address) => return resolver.reverse_lookup(*address).await,
        Question::Txt(name) => (name, RecordType::TXT),
        Question::Mx(name) => (name, RecordType::MX),
        Question::Ipv4(name) => (name, RecordType::A),
        Question::Ipv6(name) => (name, RecordType::AAAA),
    };
    resolver.lookup(Name::from_str_relaxed::<&str>(name)?, kind).await
}

/// Whether somebody answered, be it with a refusal.
fn is_answer(result: &Result<Lookup, NetError>) -> bool {
    match result {
        Ok(_) | Err(NetError::Dns(_) | NetError::Proto(_)) => true,
        Err(_) => false,
    }
}

fn read(question: &Question, result: Result<Lookup, NetError>) -> Answer {
    match result {
        Ok(lookup) => {
            let keep = lookup.valid_until().saturating_duration_since(Instant::now()).min(MAX_KEEP);
            Answer { outcome: records(question, &lookup), keep }
        }
        Err(NetError::Dns(Refusal::NoRecordsFound(none))) => {
            let keep = none.negative_ttl.map_or(KEEP_ABSENT, |seconds| Duration::from_secs(seconds.into()));
            let error = Error::Dns(CheckError::RecordNotFound(none.response_code));
            Answer { outcome: Outcome::Absent(error), keep: keep.min(MAX_KEEP) }
        }
        // A name that cannot be asked for (RFC 7208 section 4.3).
        Err(NetError::Proto(_)) => Answer { outcome: Outcome::Absent(Error::ParseError), keep: KEEP_ABSENT },
        Err(error) => {
            let reason = match error {
                NetError::Timeout => "timeout",
                NetError::Dns(_) => "server failure",
                _ => "no connection",
            };
            Answer { outcome: Outcome::Failed(reason), keep: KEEP_FAILURE }
        }
    }
}

fn records(question: &Question, lookup: &Lookup) -> Outcome {
    let data = lookup.answers().iter().map(|record| &record.data).take(MAX_RECORDS);
    match question {
        Question::Txt(name) => {
            let text = |data: &RData| match data {
                RData::TXT(txt) => Some(txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect()),
                _ => None,
            };
            Outcome::Txt(parse_txt(name, &data.filter_map(text).collect::<Vec<Vec<u8>>>()))
        }
        Question::Mx(_) => {
            let mut exchanges: Vec<MX> = data.filter_map(exchange).collect();
            exchanges.sort_by_key(|mx| mx.preference);
            Outcome::Mx(exchanges.into())
        }
        Question::Ipv4(_) => Outcome::Ipv4(data.filter_map(ipv4).collect()),
        Question::Ipv6(_) => Outcome::Ipv6(data.filter_map(ipv6).collect()),
        Question::Ptr(_) => Outcome::Ptr(data.filter_map(pointer).collect()),
    }
}

fn ipv4(data: &RData) -> Option<Ipv4Addr> {
    if let RData::A(address) = data { Some(address.0) } else { None }
}

fn ipv6(data: &RData) -> Option<Ipv6Addr> {
    if let RData::AAAA(address) = data { Some(address.0) } else { None }
}

fn pointer(data: &RData) -> Option<Box<str>> {
    let RData::PTR(name) = data else { return None };
    Some(name.to_lowercase().to_ascii().into_boxed_str())
}

fn exchange(data: &RData) -> Option<MX> {
    let RData::MX(mx) = data else { return None };
    let name = mx.exchange.to_lowercase().to_ascii().into_boxed_str();
    Some(MX { exchanges: Box::new([name]), preference: mx.preference })
}

fn only(address: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(address.ip(), true, connections.into())])
}
