use std::path::Path;

use super::corpus::{self, Judged};
use super::*;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn the_small_sample_is_told_apart() {
    let messages = corpus::read(&workspace().join("tests/corpus-sample")).unwrap();
    assert!(messages.len() >= 10);
    let counts = train::measure(BUILT_IN, &messages.iter().collect::<Vec<_>>()).unwrap();
    assert!(counts.spam_found >= 5 && counts.ham_kept >= 5);
    assert!(counts.spam_missed <= 1 && counts.ham_lost == 0, "{counts:?}");
}

/// Only where the corpus has been fetched (`just corpus`).
#[test]
fn held_out_mail_is_told_apart() {
    let folder = workspace().join("corpus/package/data");
    if !folder.exists() {
        return;
    }
    let messages = corpus::read(&folder).unwrap();
    let held_out: Vec<&Judged> = messages.iter().filter(|judged| judged.is_held_out()).collect();
    assert!(held_out.len() > 1000);
    let counts = train::measure(BUILT_IN, &held_out).unwrap();
    assert!(counts.precision() >= 0.98 && counts.recall() >= 0.94, "{counts:?}");
}

#[test]
fn learning_is_repeatable_and_learns() {
    let judged = |is_spam, text: &str| Judged {
        group: "made",
        name: String::new(),
        is_spam,
        raw: format!("From: a@example.org\r\nSubject: {text}\r\n\r\n{text}\r\n").into_bytes(),
    };
    let messages = [
        judged(true, "win money now"),
        judged(false, "minutes of the meeting"),
        judged(true, "money back offer"),
        judged(false, "meeting moved to friday"),
    ];
    let all: Vec<&Judged> = messages.iter().collect();
    let model = train::train(&all);
    assert_eq!(model, train::train(&all));
    let filter = SpamFilter::from_bytes(&model).unwrap();
    let score = |text: &str| filter.verdict(&judged(true, text).raw, "").score;
    assert!(score("money offer") > 0.5 && score("friday meeting") < 0.5);
}

#[test]
fn authentication_moves_the_score_and_is_named() {
    let filter = SpamFilter::built_in().unwrap();
    let raw = b"From: a@example.org\r\nSubject: hello\r\n\r\nhello there\r\n";
    let plain = filter.verdict(raw, "{}");
    let forged = filter.verdict(raw, r#"{"spf":"fail","dmarc":"fail","dmarc_policy":"reject"}"#);
    assert!(forged.score > plain.score);
    assert!(forged.signals.iter().any(|signal| signal.name == "auth:policy=reject"));
    assert!(forged.version.starts_with("spam/1-"));
    assert_eq!(filter.verdict(raw, "{}"), plain);
}
