//! The verdict of authenticate.

use mail_auth::{DkimResult, DmarcResult, SpfResult};
use serde::{Deserialize, Serialize};

/// What the checks found (result words of RFC 8601 section 2.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthVerdict {
    pub spf: String,
    /// Of all signatures the best.
    pub dkim: String,
    pub dmarc: String,
    pub arc: String,
    /// What the domain asks to be done with mail that fails DMARC: none, quarantine or reject.
    pub dmarc_policy: String,
    /// Domain of the From field, if it has exactly one.
    pub from_domain: Option<String>,
    /// Value of an Authentication-Results field, unfolded.
    pub results: String,
    /// What was asked of DNS, in order, and what came of it.
    pub lookups: Vec<Lookup>,
    pub version: String,
}

/// A question to DNS and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// `found`, `none`, `other records`, `bad record`, or why there is no answer.
    pub result: String,
}

pub(super) fn spf_word(result: SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    }
}

pub(super) fn dkim_word(result: &DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::Neutral(_) => "neutral",
        DkimResult::Fail(_) => "fail",
        DkimResult::PermError(_) => "permerror",
        DkimResult::TempError(_) => "temperror",
        DkimResult::None => "none",
    }
}

pub(super) fn dmarc_word(result: &DmarcResult) -> &'static str {
    match result {
        DmarcResult::Pass => "pass",
        DmarcResult::Fail(_) => "fail",
        DmarcResult::TempError(_) => "temperror",
        DmarcResult::PermError(_) => "permerror",
        DmarcResult::None => "none",
    }
}

/// The best of several signatures: one that passes is enough; one that may yet pass comes before one that fails.
pub(super) fn best_of<'a>(words: impl Iterator<Item = &'a str>) -> &'static str {
    const ORDER: [&str; 5] = ["pass", "temperror", "fail", "permerror", "neutral"];
    let rank = |word: &str| ORDER.iter().position(|known| *known == word);
    words.filter_map(rank).min().map_or("none", |best| ORDER[best])
}
