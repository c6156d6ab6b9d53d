//! Stage functions that do what the body of a message says, for paths that the real ones do not take.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use millrace_pipelines::{Functions, Unavailable};
use millrace_schemas::{Reception, Topic, encode};
use millrace_storage::NewRecord;

/// A body is its own reference. `summarise: error` makes summarise answer with an error, `summarise: panic` makes it
/// panic, and so on for the others; `fetch_body: none` is not there.
#[derive(Default)]
pub struct Scripted {
    /// So many answers of fetch_body and first_seen are that they are not available.
    pub unavailable: AtomicU32,
    pub calls: AtomicU32,
}

impl Scripted {
    fn act(&self, function: &'static str, script: &[u8], answer: &str) -> String {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let script = String::from_utf8_lossy(script);
        match script.strip_prefix(function).and_then(|rest| rest.strip_prefix(": ")) {
            Some("panic") => panic!("{function} was told to"),
            Some(_) => format!(r#"{{"error":"{function} failed","version":"1"}}"#),
            None => answer.to_owned(),
        }
    }

    fn available(&self, function: &'static str) -> Result<(), Unavailable> {
        let taken = self.unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match taken {
            Ok(_) => Err(Unavailable { function, reason: "told to".into() }),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Functions for Scripted {
    async fn fetch_body(&self, body: &str) -> Result<Option<Bytes>, Unavailable> {
        self.available("fetch_body")?;
        Ok((body != "fetch_body: none").then(|| Bytes::copy_from_slice(body.as_bytes())))
    }

    fn summarise(&self, raw: &[u8]) -> String {
        self.act("summarise", raw, r#"{"subject":"s","version":"1"}"#)
    }

    async fn authenticate(&self, raw: &[u8], _: &str, _: &str, _: Option<&str>, _: &str) -> String {
        let dmarc = if raw == b"dmarc: reject" { ("fail", "reject") } else { ("none", "none") };
        let (dmarc, policy) = dmarc;
        let answer = format!(r#"{{"spf":"none","dmarc":"{dmarc}","dmarc_policy":"{policy}","version":"1"}}"#);
        self.act("authenticate", raw, &answer)
    }

    fn scan_virus(&self, raw: &[u8]) -> String {
        self.act("scan_virus", raw, r#"{"name":null,"version":"1"}"#)
    }

    fn score_spam(&self, raw: &[u8], _: &str) -> String {
        let score = if raw == b"spam" { "0.9" } else { "0.8999" };
        self.act("score_spam", raw, &format!(r#"{{"score":{score},"version":"1"}}"#))
    }

    async fn first_seen(&self, recipient: &str, _: &str, message_id: &str, _: i64) -> Result<String, Unavailable> {
        self.available("first_seen")?;
        let script = recipient.split_once(' ').map_or("", |(_, address)| address);
        let script = script.replace('_', " ").replace("first seen", "first_seen");
        Ok(self.act("first_seen", script.as_bytes(), &format!(r#"{{"first":"{message_id}","version":"1"}}"#)))
    }
}

/// A reception whose body is `script`, for these recipients.
pub fn reception(message_id: &str, script: &str, recipients: &[&str]) -> NewRecord {
    let reception = Reception {
        message_id: message_id.into(),
        received_at_us: super::NOW_US,
        origin: "smtp".into(),
        remote_ip: "192.0.2.7".into(),
        helo: "client".into(),
        server_name: "mx.millrace.test".into(),
        is_tls: false,
        is_smtputf8: false,
        reverse_path: None,
        forward_path: Vec::new(),
        recipients: recipients.iter().map(|entry| (*entry).to_owned()).collect(),
        body: script.into(),
        trace_bytes: 0,
        size_bytes: script.len() as i64,
        body_digest: message_id.into(),
    };
    NewRecord { topic: Topic::Reception, key: message_id.into(), value: encode(&reception).unwrap() }
}
