//! One run of all checks over what is known of DNS.

use std::net::IpAddr;

use mail_auth::common::cache::NoCache;
use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, AuthenticationResults, DkimOutput, DkimResult, DmarcOutput, Error,
    MessageAuthenticator, Parameters, SpfOutput, SpfResult,
};

use super::VERSION;
use super::verdict::{AuthVerdict, best_of, dkim_word, dmarc_word, spf_word};
use super::view::View;

/// Who handed the message over.
pub(crate) struct Sender<'a> {
    pub(super) ip: Option<IpAddr>,
    pub(super) helo: &'a str,
    /// None is the null reverse-path.
    pub(super) reverse_path: Option<&'a str>,
    pub(super) server_name: &'a str,
}

impl Sender<'_> {
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The domain that SPF speaks for (RFC 7208 section 2.4).
    fn domain(&self) -> &str {
        self.reverse_path.and_then(|path| path.rsplit_once('@')).map_or(self.helo, |(_, domain)| domain)
    }
}

/// What the checks gave.
struct Outcome<'a> {
    spf: SpfOutput,
    dkim: Vec<DkimOutput<'a>>,
    arc: Option<ArcOutput<'a>>,
    dmarc: DmarcOutput,
}

/// Runs SPF, DKIM, ARC and DMARC. Does not wait: all answers come from `view`.
pub(super) async fn run(checker: &MessageAuthenticator, raw: &[u8], sender: &Sender<'_>, view: &View) -> AuthVerdict {
    view.begin_run();
    let spf = check_spf(checker, sender, view).await;
    let Some(message) = AuthenticatedMessage::parse(raw) else {
        let outcome = Outcome { spf, dkim: Vec::new(), arc: None, dmarc: DmarcOutput::default() };
        return verdict(sender, &outcome, None, view);
    };
    let checked = checker.verify_dkim(with(&message, view)).await;
    let dkim: Vec<DkimOutput<'_>> = checked.iter().map(altered_is_fail).collect();
    let arc = Box::pin(checker.verify_arc(with(&message, view))).await;
    let parameters = DmarcParameters::new(&message, &dkim, sender.domain(), &spf);
    let dmarc = Box::pin(checker.verify_dmarc(with(parameters, view))).await;
    let from = from_domain(&message);
    verdict(sender, &Outcome { spf: spf.clone(), dkim: dkim.clone(), arc: Some(arc), dmarc }, from, view)
}

type WithView<'x, P> = Parameters<'x, P, View, View, View, View, View>;

fn with<P>(parameters: P, view: &View) -> WithView<'_, P> {
    Parameters::<P, NoCache<_, _>, NoCache<_, _>, NoCache<_, _>, NoCache<_, _>, NoCache<_, _>>::new(parameters)
        .with_txt_cache(view)
        .with_mx_cache(view)
        .with_ipv4_cache(view)
        .with_ipv6_cache(view)
        .with_ptr_cache(view)
}

/// SPF of the reverse-path, or of the HELO name where there is none (RFC 7208 section 2.4).
async fn check_spf(checker: &MessageAuthenticator, sender: &Sender<'_>, view: &View) -> SpfOutput {
    let none = || SpfOutput::new(sender.domain().to_owned()).with_result(SpfResult::None);
    let Some(ip) = sender.ip else { return none() };
    let parameters = match sender.reverse_path {
        Some(path) => SpfParameters::verify_mail_from(ip, sender.helo, sender.server_name, path),
        None => SpfParameters::verify_ehlo(ip, sender.helo, sender.server_name),
    };
    let output = Box::pin(checker.verify_spf(with(parameters, view))).await;
    // An address that nobody knows could have matched (RFC 7208 section 2.6.6).
    if view.take_failed() { output.with_result(SpfResult::TempError) } else { output }
}

/// A body that was changed is a failed signature (RFC 8601 section 2.7.1), not an unreadable one.
fn altered_is_fail<'y>(output: &'y DkimOutput<'_>) -> DkimOutput<'y> {
    let remade = match output.result() {
        DkimResult::Neutral(error @ Error::Dkim(DkimError::FailedBodyHashMatch)) => DkimOutput::fail(error.clone()),
        DkimResult::Neutral(error) => DkimOutput::neutral(error.clone()),
        DkimResult::Fail(error) => DkimOutput::fail(error.clone()),
        DkimResult::PermError(error) => DkimOutput::perm_err(error.clone()),
        DkimResult::TempError(error) => DkimOutput::temp_err(error.clone()),
        DkimResult::Pass | DkimResult::None => DkimOutput::pass(),
    };
    match output.signature() {
        Some(signature) => remade.with_signature(signature),
        None => remade,
    }
}

/// The domain of the From field's one address, or of all its addresses when they share it.
fn from_domain(message: &AuthenticatedMessage<'_>) -> Option<String> {
    let mut domains = message.froms().iter().filter_map(|from| from.rsplit_once('@')).map(|(_, domain)| domain);
    let first = domains.next()?;
    domains.all(|domain| domain == first).then(|| first.to_owned())
}

fn verdict(sender: &Sender<'_>, outcome: &Outcome<'_>, from: Option<String>, view: &View) -> AuthVerdict {
    let policy = match outcome.dmarc.policy() {
        Policy::Quarantine => "quarantine",
        Policy::Reject => "reject",
        Policy::None | Policy::Unspecified => "none",
    };
    AuthVerdict {
        spf: spf_word(outcome.spf.result()).to_owned(),
        dkim: best_of(outcome.dkim.iter().map(|output| dkim_word(output.result()))).to_owned(),
        dmarc: dmarc_word(&outcome.dmarc.result()).to_owned(),
        arc: outcome.arc.as_ref().map_or("none", |arc| dkim_word(arc.result())).to_owned(),
        dmarc_policy: policy.to_owned(),
        results: results(sender, outcome, from.as_deref().unwrap_or_default()),
        from_domain: from,
        lookups: view.lookups(),
        version: VERSION.to_owned(),
    }
}

/// The value of an Authentication-Results field (RFC 8601 section 2.2).
fn results(sender: &Sender<'_>, outcome: &Outcome<'_>, from: &str) -> String {
    let mut results = AuthenticationResults::new(sender.server_name).with_dkim_results(&outcome.dkim, from);
    if let Some(ip) = sender.ip {
        results = match sender.reverse_path {
            Some(path) => results.with_spf_mailfrom_result(&outcome.spf, ip, path, sender.helo),
            None => results.with_spf_ehlo_result(&outcome.spf, ip, sender.helo),
        };
        if let Some(arc) = outcome.arc.as_ref().filter(|arc| *arc.result() != DkimResult::None) {
            results = results.with_arc_result(arc, ip);
        }
    }
    if !from.is_empty() {
        results = results.with_dmarc_result(&outcome.dmarc);
    }
    let text = results.to_string().replace("\r\n\t", " ");
    if text == sender.server_name { format!("{text}; none") } else { text }
}
