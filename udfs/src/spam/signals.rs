//! What authentication adds to the score: fixed weights, since mail to learn from comes without.

use serde::Deserialize;

use super::SpamSignal;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    spf: String,
    dkim: String,
    dmarc: String,
    dmarc_policy: String,
}

/// Log-odds, chosen so that no one of them decides alone: a forged sender moves a doubtful mail over the line, an
/// authenticated one is worth little, since spammers authenticate too.
const WEIGHTS: [(&str, &str, f64); 8] = [
    ("spf", "fail", 0.8),
    ("spf", "softfail", 0.4),
    ("spf", "pass", -0.1),
    ("dkim", "fail", 0.3),
    ("dkim", "pass", -0.2),
    ("dmarc", "fail", 0.8),
    ("dmarc", "pass", -0.4),
    ("dmarc", "permerror", 0.2),
];
/// Added to a failed DMARC when the domain asks for quarantine or rejection.
const POLICY_WEIGHT: f64 = 1.2;

/// The signals of an authentication verdict; none for anything that is not one.
pub(super) fn of(auth: &str) -> Vec<SpamSignal> {
    let auth: Auth = serde_json::from_str(auth).unwrap_or_default();
    let result = |method: &str| match method {
        "spf" => &auth.spf,
        "dkim" => &auth.dkim,
        _ => &auth.dmarc,
    };
    let mut signals: Vec<SpamSignal> = WEIGHTS
        .iter()
        .filter(|(method, word, _)| result(method) == word)
        .map(|(method, word, weight)| SpamSignal { name: format!("auth:{method}={word}"), weight: *weight })
        .collect();
    if auth.dmarc == "fail" && (auth.dmarc_policy == "reject" || auth.dmarc_policy == "quarantine") {
        signals.push(SpamSignal { name: format!("auth:policy={}", auth.dmarc_policy), weight: POLICY_WEIGHT });
    }
    signals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_mail_weighs_more_than_unauthenticated() {
        let sum = |auth: &str| of(auth).iter().map(|signal| signal.weight).sum::<f64>();
        let forged = sum(r#"{"spf":"fail","dkim":"none","dmarc":"fail","dmarc_policy":"reject"}"#);
        let plain = sum(r#"{"spf":"none","dkim":"none","dmarc":"none","dmarc_policy":"none"}"#);
        assert!(forged > 2.0 && plain == 0.0);
        assert!(sum(r#"{"spf":"pass","dkim":"pass","dmarc":"pass"}"#) < 0.0);
        assert!(of("not json").is_empty());
    }
}
