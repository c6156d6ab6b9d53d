//! `inputs.jsonl`: receptions in waves, each wave after the one before it was processed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millrace_schemas::{Reception, Topic, encode};
use millrace_storage::{BlobStore, NewRecord};
use serde::Deserialize;

/// A line of the file: a reception of a mail of `mails/`, or bytes that are not a record.
#[derive(Clone, Debug, Deserialize)]
pub struct Input {
    pub wave: u32,
    #[serde(default)]
    pub message_id: String,
    /// File name without `.eml`; none for a body that is not there.
    pub mail: Option<String>,
    #[serde(default)]
    pub recipients: Vec<String>,
    pub origin: Option<String>,
    #[serde(default = "some_sender")]
    pub reverse_path: Option<String>,
    /// Hexadecimal.
    pub undecodable: Option<String>,
}

fn some_sender() -> Option<String> {
    Some("sender@example.org".into())
}

pub fn folder(pipeline: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(pipeline)
}

pub fn read(pipeline: &str) -> Vec<Input> {
    let text = std::fs::read_to_string(folder(pipeline).join("inputs.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Stores the mails of `inputs` and makes their records; `names` learns what each body reference stands for.
pub async fn records(blobs: &dyn BlobStore, inputs: &[Input], names: &mut BTreeMap<String, String>) -> Vec<NewRecord> {
    let mut records = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        if let Some(hex) = &input.undecodable {
            let digits: Vec<_> = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
            let value: Vec<u8> = digits.iter().map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
            records.push(NewRecord { topic: Topic::Reception, key: hex.clone(), value: value.into() });
            continue;
        }
        let reception = reception(blobs, number, input, names).await;
        let value = encode(&reception).unwrap();
        records.push(NewRecord { topic: Topic::Reception, key: reception.message_id, value });
    }
    records
}

async fn reception(
    blobs: &dyn BlobStore,
    number: usize,
    input: &Input,
    names: &mut BTreeMap<String, String>,
) -> Reception {
    let trace = format!(
        "Return-Path: <{}>\r\nReceived: from client.example.org ([192.0.2.7]) by mx.millrace.test with ESMTP\r\n\tid {}; \
         Mon, 02 Nov 2026 09:00:00 +0000\r\n",
        input.reverse_path.as_deref().unwrap_or_default(),
        input.message_id,
    );
    let sent = match &input.mail {
        Some(mail) => std::fs::read(folder("10_reception").join(format!("mails/{mail}.eml"))).unwrap(),
        None => Vec::new(),
    };
    let stored = Bytes::from([trace.as_bytes(), &sent].concat());
    let size_bytes = stored.len() as i64;
    let body = match &input.mail {
        Some(_) => blobs.put(stored).await.unwrap().to_string(),
        None => "2026-01-01/01JDCM00000000000000000000.pack:16:100".to_owned(),
    };
    names.insert(body.clone(), format!("body of {}", input.message_id));
    Reception {
        message_id: input.message_id.clone(),
        received_at_us: super::NOW_US + i64::from(input.wave) * 1_000_000 + number as i64,
        origin: input.origin.clone().unwrap_or_else(|| "smtp".into()),
        remote_ip: "192.0.2.7".into(),
        helo: "client.example.org".into(),
        server_name: "mx.millrace.test".into(),
        is_tls: true,
        is_smtputf8: false,
        reverse_path: input.reverse_path.clone(),
        forward_path: input.recipients.iter().map(|entry| entry.split_once(' ').unwrap().1.to_owned()).collect(),
        recipients: input.recipients.clone(),
        body,
        trace_bytes: trace.len() as i64,
        size_bytes,
        body_digest: blake3::hash(&sent).to_hex().to_string(),
    }
}
