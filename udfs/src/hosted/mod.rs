//! The stage functions in a process that is not ours: an Arroyo worker loads each as a library of its own
//! (`arroyo/*.rs`) and hands on nothing of Millrace's configuration.
//!
//! - [`settings`]: environment variables, named as the configuration's keys are
//! - [`services`]: those of a cluster, S3 and Redis; [`stores`]: bodies and first-seen by these settings
//! - [`bounds`]: no panic and no endless wait leaves a call, since either takes Arroyo's job down, again and again for
//!   the same record: both are error values
//!
//! A library holds only what its function needs, made at the first call. What a null argument gives is what it gives
//! in the local runner.

mod bounds;
mod services;
mod settings;
mod stores;

use std::sync::OnceLock;

use crate::authenticate::{self, Authenticator, Sender};
use crate::guard::error_value;
use crate::spam::SpamFilter;
use crate::virus::VirusScanner;
use crate::{body, duplicate, summary};

pub use bounds::{AUTHENTICATION, DEFAULT_PATIENCE, LONGEST_CALL, value, value_within};
use settings::Settings;

/// Version of the crate, and the fingerprint of the sources it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("MILLRACE_UDFS_FINGERPRINT"));

/// Stops the build of a library whose deployer has other sources than the machine that builds it.
pub const fn built_from(version: &str) {
    let (ours, theirs) = (VERSION.as_bytes(), version.as_bytes());
    let mut at = 0;
    let mut is_same = ours.len() == theirs.len();
    while is_same && at < ours.len() {
        is_same = ours[at] == theirs[at];
        at += 1;
    }
    assert!(is_same, "the sources at MILLRACE_SOURCE are not those of the millrace that deploys: update one of them");
}

/// The stored body at a reference; None when there is none, or none that can be read for [`bounds::patience`].
pub async fn fetch_body(body: Option<&str>) -> Option<Vec<u8>> {
    let reference = body?.to_owned();
    let fetched = bounds::patiently("fetch_body", move || {
        let reference = reference.clone();
        async move { body::fetch(stores::blobs().await?.as_ref(), &reference).await }
    });
    match fetched.await {
        Ok(found) => found.map(Vec::from),
        Err(reason) => {
            // The result has no room for it, and nobody listens to this library's log: a worker's stderr is kept.
            eprintln!("millrace: the body {} becomes a dead letter: {reason}", body.unwrap_or_default());
            None
        }
    }
}

/// JSON of [`crate::Summary`].
pub fn summarise(raw: &[u8]) -> String {
    value("summarise", summary::VERSION, || summary::summarise_to_json(raw))
}

/// JSON of [`crate::AuthVerdict`]; `reverse_path` is None for the null reverse-path.
pub async fn authenticate(
    raw: Option<&[u8]>,
    remote_ip: Option<&str>,
    helo: Option<&str>,
    reverse_path: Option<&str>,
    server_name: Option<&str>,
) -> Option<String> {
    let raw = raw?.to_vec();
    let [remote_ip, helo, server_name] = [remote_ip?, helo?, server_name?].map(str::to_owned);
    let reverse_path = reverse_path.map(str::to_owned);
    let verdict = async move {
        match authenticator() {
            Ok(authenticator) => {
                let sender = Sender::new(&remote_ip, &helo, reverse_path.as_deref(), &server_name);
                Box::pin(authenticator.authenticate(&raw, sender)).await
            }
            Err(reason) => error_value(reason, authenticate::VERSION),
        }
    };
    Some(value_within("authenticate", authenticate::VERSION, bounds::AUTHENTICATION, verdict).await)
}

/// JSON of [`crate::VirusVerdict`].
pub fn scan_virus(raw: &[u8]) -> String {
    static SCANNER: OnceLock<Result<VirusScanner, String>> = OnceLock::new();
    // The rules are read inside the guard: a panic on the way is an error value, and the next call reads them again.
    value("scan_virus", VERSION, || {
        let scanner = SCANNER.get_or_init(|| {
            let rules_dir = Settings::get()?.rules_dir.clone();
            VirusScanner::new(rules_dir.as_deref()).map_err(|error| error.to_string())
        });
        scanner.as_ref().map_or_else(|reason| error_value(reason, VERSION), |scanner| scanner.scan(raw))
    })
}

/// JSON of [`crate::SpamVerdict`]; `authentication` is what [`authenticate`] gave.
pub fn score_spam(raw: &[u8], authentication: &str) -> String {
    static FILTER: OnceLock<Result<SpamFilter, String>> = OnceLock::new();
    value("score_spam", VERSION, || {
        let filter = FILTER.get_or_init(|| SpamFilter::built_in().map_err(|error| error.to_string()));
        filter.as_ref().map_or_else(|reason| error_value(reason, VERSION), |filter| filter.score(raw, authentication))
    })
}

/// `{"first": message id}`: which message came first with this claim for this recipient.
pub async fn first_seen(
    recipient: Option<&str>,
    claim: Option<&str>,
    message_id: Option<&str>,
    received_at_us: Option<i64>,
) -> Option<String> {
    let words = [recipient?, claim?, message_id?].map(str::to_owned);
    let at_us = received_at_us?;
    let seen = bounds::patiently("first_seen", move || {
        let [recipient, digest, message] = words.clone();
        async move {
            let store = stores::first_seen().await?;
            duplicate::claim(store.as_ref(), &recipient, &digest, &message, at_us).await
        }
    });
    Some(seen.await.unwrap_or_else(|reason| error_value(&reason, duplicate::VERSION)))
}

fn authenticator() -> Result<&'static Authenticator, &'static str> {
    static AUTHENTICATOR: OnceLock<Result<Authenticator, String>> = OnceLock::new();
    let made =
        AUTHENTICATOR.get_or_init(|| Authenticator::new(&Settings::get()?.dns).map_err(|error| error.to_string()));
    made.as_ref().map_err(String::as_str)
}
