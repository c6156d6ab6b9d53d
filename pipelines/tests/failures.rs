//! What becomes of records that a stage cannot process, and of those that come with them.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace_pipelines::Options;
use millrace_schemas::Topic;
use millrace_storage::NewRecord;
use serde_json::Value;
use support::outputs;
use support::scripted::{Scripted, reception};

/// What the records give, as one batch of one partition.
async fn outputs_of(records: Vec<NewRecord>, functions: Arc<Scripted>) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let storage = support::open(folder.path(), 1).await;
    support::append(storage.log.as_ref(), records).await;
    let options = Options { workers: 1, poll_timeout: Duration::from_millis(50), ..Options::default() };
    support::run_until_drained(&support::reception(), storage.log.clone(), functions, options).await;
    outputs::read(storage.log.as_ref(), &BTreeMap::new()).await
}

fn of<'a>(outputs: &'a [Value], topic: &'a str, id: &'a str) -> impl Iterator<Item = &'a Value> {
    let is_it = move |output: &&Value| output["topic"] == topic && output["value"]["message_id"] == id;
    outputs.iter().filter(is_it).map(|output| &output["value"])
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_panics_of_a_stage_dead_letter_their_message_alone() {
    let cases = [
        ("fetch_body: none", "fetched", "there is no readable body"),
        ("summarise: error", "summarised", "summarise failed"),
        ("summarise: panic", "summarised", "panic"),
        ("authenticate: error", "authenticated", "authenticate failed"),
        ("authenticate: panic", "authenticated", "panic"),
        ("scan_virus: error", "scanned", "scan_virus failed"),
        ("scan_virus: panic", "scanned", "panic"),
        ("score_spam: error", "scanned", "score_spam failed"),
        ("score_spam: panic", "scanned", "panic"),
    ];
    let mut records = Vec::new();
    for (number, (script, ..)) in cases.iter().enumerate() {
        records.push(reception(&format!("good-{number}"), "", &["a a@x.test", "b b@x.test"]));
        records.push(reception(script, script, &["a a@x.test", "b b@x.test"]));
    }
    let outputs = outputs_of(records, Arc::default()).await;
    for (number, (script, stage, error)) in cases.iter().enumerate() {
        let letters: Vec<_> = of(&outputs, "mail.dead-letter", script).collect();
        assert_eq!(letters.len(), 1, "{script}");
        assert_eq!(letters[0]["stage"], *stage, "{script}");
        assert!(letters[0]["error"].as_str().unwrap().contains(error), "{script}: {}", letters[0]["error"]);
        assert_eq!(letters[0]["body"], *script);
        assert_eq!(letters[0]["failed_at_us"], support::NOW_US);
        for topic in ["mail.screened", "mailbox.changes", "mail.delivery"] {
            assert_eq!(of(&outputs, topic, script).count(), 0, "{script} in {topic}");
        }
        let good = format!("good-{number}");
        assert_eq!(of(&outputs, "mail.screened", &good).count(), 1);
        assert_eq!(of(&outputs, "mailbox.changes", &good).count(), 2);
        assert_eq!(of(&outputs, "mail.delivery", &good).count(), 2);
        assert_eq!(of(&outputs, "mail.dead-letter", &good).count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_for_one_recipient_leaves_the_others() {
    let entries = ["a a@x.test", "b first_seen:_error", "c c@x.test"];
    let outputs = outputs_of(vec![reception("one", "", &entries)], Arc::default()).await;
    let letters: Vec<_> = of(&outputs, "mail.dead-letter", "one").collect();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["recipient"], entries[1]);
    assert_eq!(letters[0]["stage"], "deduplicated");
    assert_eq!(of(&outputs, "mailbox.changes", "one").count(), 2);
    assert_eq!(of(&outputs, "mail.delivery", "one").count(), 2);
    assert_eq!(of(&outputs, "mail.screened", "one").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_available_is_tried_again_and_not_dead_lettered() {
    let functions = Arc::new(Scripted { unavailable: AtomicU32::new(3), ..Scripted::default() });
    let records = (0..20).map(|n| reception(&n.to_string(), "", &["a a@x.test"])).collect();
    let outputs = outputs_of(records, functions.clone()).await;
    assert_eq!(functions.unavailable.load(Ordering::SeqCst), 0);
    for n in 0..20 {
        assert_eq!(of(&outputs, "mailbox.changes", &n.to_string()).count(), 1);
        assert_eq!(of(&outputs, "mail.dead-letter", &n.to_string()).count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_avro_is_dead_lettered_with_its_place() {
    let damaged = |value: &'static [u8]| NewRecord { topic: Topic::Reception, key: "k".into(), value: value.into() };
    let records = vec![
        reception("one", "", &["a a@x.test"]),
        damaged(b""),
        damaged(b"\0\0\0\0\x01\x04ab"),
        damaged(b"\0\0\0\x03\xe7"),
        reception("two", "", &["a a@x.test"]),
    ];
    let outputs = outputs_of(records, Arc::default()).await;
    let letters: Vec<_> = outputs.iter().filter(|output| output["topic"] == "mail.dead-letter").collect();
    assert_eq!(letters.len(), 3);
    for letter in letters {
        assert_eq!(letter["key"], "decode");
        assert_eq!(letter["value"]["topic"], "mail.reception");
    }
    assert_eq!(of(&outputs, "mailbox.changes", "one").count() + of(&outputs, "mailbox.changes", "two").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dispositions_follow_the_verdicts() {
    let records = vec![
        reception("ham", "", &["a a@x.test"]),
        reception("spam", "spam", &["a a@x.test"]),
        reception("forged", "dmarc: reject", &["a a@x.test"]),
        reception("nobody", "", &[]),
    ];
    let outputs = outputs_of(records, Arc::default()).await;
    for (id, mailbox, reason) in [
        ("ham", "inbox", None),
        ("spam", "junk", Some("spam: score 0.9")),
        ("forged", "junk", Some("dmarc: fail, policy reject")),
        ("nobody", "inbox", None),
    ] {
        let screened = of(&outputs, "mail.screened", id).next().unwrap();
        assert_eq!(screened["disposition"], mailbox);
        assert_eq!(screened["reason"].as_str(), reason, "{id}");
        for change in of(&outputs, "mailbox.changes", id) {
            assert_eq!(change["mailbox"], mailbox);
        }
    }
    assert_eq!(of(&outputs, "mailbox.changes", "nobody").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_flipped_anywhere_cost_their_record_alone() {
    let good = reception("good", "", &["a a@x.test"]);
    let mut records = vec![good.clone()];
    for position in 0..good.value.len() {
        for flip in [0x01_u8, 0x80, 0xff] {
            let mut value = good.value.to_vec();
            value[position] ^= flip;
            records.push(NewRecord { value: value.into(), ..good.clone() });
        }
    }
    let damaged = records.len() - 1;
    records.push(reception("last", "", &["a a@x.test"]));
    let outputs = outputs_of(records, Arc::default()).await;
    for id in ["good", "last"] {
        assert!(of(&outputs, "mailbox.changes", id).count() >= 1);
    }
    let ended = outputs.iter().filter(|output| {
        let whole = output["value"]["recipient"].is_null();
        output["topic"] == "mail.screened" || (output["topic"] == "mail.dead-letter" && whole)
    });
    assert_eq!(ended.count(), damaged + 2, "each record is screened or dead-lettered, once");
}
