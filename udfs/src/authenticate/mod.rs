//! authenticate: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 9989) and ARC (RFC 8617).
//!
//! The checks themselves never wait: they run over the answers known so far ([`view`]) and say which questions are
//! open. Those are asked at once, in parallel, and the checks run again, until nothing is open or the time is up.
//! So every answer that a verdict rests on is known and listed in it, one slow server costs one wait, and a replay
//! over the same answers gives the same verdict.
//!
//! - [`dns`]: the resolver; [`breaker`]: what happens when it does not answer; [`known`]: answers kept
//! - [`checks`]: one run; [`verdict`]: the result

mod breaker;
mod checks;
mod dns;
mod known;
mod question;
mod verdict;
mod view;

use std::time::Duration;

use tokio::time::Instant;

pub use dns::{Dns, DnsError};
pub use verdict::{AuthVerdict, Lookup};

use crate::guard::{error_value, guarded_future};
pub(crate) use checks::Sender;
use dns::Resolver;
use question::{Answer, Question};
use view::View;

/// Which rules made a verdict.
pub const VERSION: &str = "authenticate/1";

/// The whole call, at most.
const DEADLINE: Duration = Duration::from_secs(5);
/// Runs of the checks, at most: each resolves at least one link of a chain (includes, redirects, tree walks).
const MAX_ROUNDS: usize = 24;
/// Questions of one message, at most.
const MAX_QUESTIONS: usize = 60;

/// Checks messages against what their senders publish.
pub(crate) struct Authenticator {
    resolver: Resolver,
}

impl Authenticator {
    pub(crate) fn new(dns: &Dns) -> Result<Self, DnsError> {
        Ok(Self { resolver: Resolver::new(dns)? })
    }

    /// The verdict as JSON, within [`DEADLINE`]; what DNS did not answer by then is a `temperror`.
    pub(crate) async fn authenticate(&self, raw: &[u8], sender: Sender<'_>) -> String {
        let verdict = guarded_future("authenticate", self.verdict(raw, &sender)).await;
        match verdict.map(|verdict| serde_json::to_string(&verdict)) {
            Ok(Ok(json)) => json,
            Ok(Err(error)) => error_value(&error.to_string(), VERSION),
            Err(reason) => error_value(&reason, VERSION),
        }
    }

    async fn verdict(&self, raw: &[u8], sender: &Sender<'_>) -> AuthVerdict {
        let deadline = Instant::now() + DEADLINE;
        let mut view = View::new(sender.ip());
        for _ in 0..MAX_ROUNDS {
            let verdict = self.run(raw, sender, &view).await;
            let open = view.take_open();
            if open.is_empty() {
                return verdict;
            }
            let left = MAX_QUESTIONS.saturating_sub(view.known_count());
            let (now, never) = open.split_at(open.len().min(left));
            for question in never {
                view.learn(question.clone(), Answer::failed("too many lookups"));
            }
            self.ask(now, &mut view, deadline).await;
        }
        view.close();
        self.run(raw, sender, &view).await
    }

    async fn run(&self, raw: &[u8], sender: &Sender<'_>, view: &View) -> AuthVerdict {
        checks::run(self.resolver.checker(), raw, sender, view).await
    }

    /// Asks all questions at once; those that have no answer by the deadline have failed for this message.
    async fn ask(&self, questions: &[Question], view: &mut View, deadline: Instant) {
        let answers = questions.iter().map(|question| async move {
            let answer = tokio::time::timeout_at(deadline, self.resolver.answer(question)).await;
            answer.unwrap_or_else(|_| Answer::failed("timeout"))
        });
        for (question, answer) in questions.iter().zip(futures::future::join_all(answers).await) {
            view.learn(question.clone(), answer);
        }
    }
}

impl<'a> Sender<'a> {
    /// Facts of the SMTP connection and envelope. An address that cannot be read counts as unknown.
    pub(crate) fn new(remote_ip: &str, helo: &'a str, reverse_path: Option<&'a str>, server_name: &'a str) -> Self {
        let ip = remote_ip.parse().ok();
        Self { ip, helo, reverse_path: reverse_path.filter(|path| !path.is_empty()), server_name }
    }
}
