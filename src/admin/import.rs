//! Taking in mail that an account had elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use millrace_directory::Account;
use millrace_query::mail::AccountView;
use millrace_schemas::{MailboxPatch, Reception, Topic, encode};
use millrace_storage::NewRecord;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::AdminError;
use super::progress::{self, Progress};
use crate::node::{Node, Role};

/// Emails whose keywords are set in one change.
const CHUNK: usize = 500;
/// Without any progress on earlier mail for so long, an import does not begin.
const UNSETTLED: Duration = Duration::from_secs(5);
/// Without any email more for so long, the pipeline is stuck.
const STUCK: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
pub struct Received {
    received_at_us: Option<i64>,
}

#[derive(Serialize)]
pub struct Imported {
    email_id: String,
    is_new: bool,
}

/// Says whether mail can be imported into this account, before any of it is sent.
pub async fn check(State(node): State<Arc<Node>>, Path(address): Path<String>) -> Result<Json<()>, AdminError> {
    node.require(&[Role::Pipelines, Role::Lander]).map_err(AdminError::conflict)?;
    node.directory.account_of(&address)?;
    // An import that was killed may have left mail in the log that is not visible yet: it must not be taken in again.
    let settled = node.settle(UNSETTLED).await;
    settled.map_err(|error| AdminError::internal(format!("{error:#}; repeat the import when that is mended")))?;
    Ok(Json(()))
}

/// Appends one message to the reception topic, unless the account has it.
pub async fn message(
    State(node): State<Arc<Node>>,
    Path(address): Path<String>,
    Query(received): Query<Received>,
    raw: Bytes,
) -> Result<Json<Imported>, AdminError> {
    if raw.is_empty() {
        return Err(AdminError::bad_request("the message is empty"));
    }
    let account = node.directory.account_of(&address)?;
    let content = with_crlf(&raw);
    let digest = blake3::hash(&content).to_hex().to_string();
    let view = node.mailboxes.view(&account.id).await.map_err(AdminError::internal)?;
    let email_id = free_id(&account, &view, &digest);
    // What was taken a moment ago may not be in the view yet.
    if view.get(&email_id).is_some() {
        return Ok(Json(Imported { email_id, is_new: false }));
    }
    let Some(mut claim) = Claim::take(&node, &email_id) else {
        return Ok(Json(Imported { email_id, is_new: false }));
    };
    let received_at_us = received.received_at_us.unwrap_or_else(|| sent_at_us(&node, &content));
    append(&node, &account, &email_id, digest, content, received_at_us).await?;
    claim.is_appended = true;
    drop(claim);
    Ok(Json(Imported { email_id, is_new: true }))
}

/// Keeps others from appending the same email. Gone again when it was not appended, for whatever reason: then the next
/// import may try.
struct Claim<'a> {
    node: &'a Node,
    email_id: &'a str,
    is_appended: bool,
}

impl<'a> Claim<'a> {
    fn take(node: &'a Node, email_id: &'a str) -> Option<Self> {
        let is_free = node.importing.lock().insert(email_id.to_owned());
        is_free.then_some(Self { node, email_id, is_appended: false })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.is_appended {
            self.node.importing.lock().remove(self.email_id);
        }
    }
}

async fn append(
    node: &Node,
    account: &Account,
    email_id: &str,
    digest: String,
    content: Vec<u8>,
    received_at_us: i64,
) -> Result<(), AdminError> {
    let size_bytes = content.len() as i64;
    let body = node.storage.blobs.put(content.into()).await.map_err(AdminError::internal)?;
    let reception = Reception {
        message_id: email_id.to_owned(),
        received_at_us,
        origin: "import".to_owned(),
        remote_ip: String::new(),
        helo: String::new(),
        server_name: node.config.smtp.server_name.clone(),
        is_tls: false,
        is_smtputf8: false,
        reverse_path: None,
        forward_path: vec![account.address.clone()],
        recipients: vec![format!("{} {}", account.id, account.address)],
        body: body.to_string(),
        trace_bytes: 0,
        size_bytes,
        body_digest: digest,
    };
    let value = encode(&reception).map_err(AdminError::internal)?;
    let record = NewRecord { topic: Topic::Reception, key: email_id.to_owned(), value };
    node.storage.log.append(vec![record]).await.map_err(AdminError::internal)?;
    Ok(())
}

/// The same for the same bytes in the same account, so that an import can be repeated. A message that the account had
/// and destroyed comes back as another email, since an id is never used again.
fn free_id(account: &Account, view: &AccountView, digest: &str) -> String {
    let mut id = email_id(account, digest);
    while view.was_destroyed(&id) {
        id = email_id(account, &id);
    }
    id
}

fn email_id(account: &Account, digest: &str) -> String {
    let hash = blake3::hash(format!("{} {digest}", account.id).as_bytes()).to_hex();
    format!("i{}", &hash[..25])
}

/// Lines end in CRLF, as they do on the wire (RFC 5322 section 2.1).
fn with_crlf(raw: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut before = 0;
    for &byte in raw {
        if byte == b'\n' && before != b'\r' {
            content.push(b'\r');
        }
        content.push(byte);
        before = byte;
    }
    content
}

/// The Date of the message; for one without, now.
fn sent_at_us(node: &Node, content: &[u8]) -> i64 {
    let summary: Option<millrace_udfs::Summary> = serde_json::from_str(&node.stages.summarise(content)).ok();
    let sent_at = summary.and_then(|summary| summary.sent_at);
    let parsed = sent_at.and_then(|sent_at| chrono::DateTime::parse_from_rfc3339(&sent_at).ok());
    parsed.map_or_else(|| chrono::Utc::now().timestamp_micros(), |at| at.timestamp_micros())
}

#[derive(Deserialize)]
pub struct Emails {
    emails: Vec<Email>,
}

#[derive(Deserialize)]
struct Email {
    email_id: String,
    keywords: Vec<String>,
}

/// Waits until the imported emails are in their mailbox, and gives them the keywords they had.
pub async fn finish(
    State(node): State<Arc<Node>>,
    Path(address): Path<String>,
    Json(emails): Json<Emails>,
) -> Result<Response, AdminError> {
    let account = node.directory.account_of(&address)?;
    Ok(progress::respond("screening", move |progress| async move {
        let visible = wait_until_visible(&node, &account, &emails.emails, &progress).await?;
        set_keywords(&node, &account, &emails.emails).await?;
        forget(&node, &emails.emails);
        Ok(json!({ "visible": visible }))
    }))
}

/// Lets go of the claims on emails that are in the view by now.
fn forget(node: &Node, emails: &[Email]) {
    let mut importing = node.importing.lock();
    for email in emails {
        importing.remove(&email.email_id);
    }
}

async fn wait_until_visible(
    node: &Node,
    account: &Account,
    emails: &[Email],
    progress: &Progress,
) -> anyhow::Result<usize> {
    let mut last = (0, Instant::now());
    loop {
        // Asked before the view is read: what was settled then is in the view, or was kept out of the mailboxes.
        let is_settled = node.in_flight().await? == 0;
        let view = node.mailboxes.view(&account.id).await?;
        let visible = emails.iter().filter(|email| view.get(&email.email_id).is_some()).count();
        progress.step(visible as u64, emails.len() as u64);
        if visible == emails.len() || is_settled {
            return Ok(visible);
        }
        if visible > last.0 {
            last = (visible, Instant::now());
        }
        anyhow::ensure!(
            last.1.elapsed() < STUCK,
            "the imported mail is safe in the log, but screening makes no progress; see the node's log"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn set_keywords(node: &Node, account: &Account, emails: &[Email]) -> anyhow::Result<()> {
    let view = node.mailboxes.view(&account.id).await?;
    // An email that was changed since it came keeps what its owner made of it.
    let is_untouched = |id: &str| view.get(id).is_some_and(|version| version.seq == version.created_seq);
    let patches = emails.iter().filter(|email| !email.keywords.is_empty() && is_untouched(&email.email_id));
    let patches: Vec<_> = patches
        .map(|email| {
            let keywords = email.keywords.iter().map(|keyword| (keyword.clone(), true)).collect();
            (email.email_id.clone(), MailboxPatch { keywords, ..MailboxPatch::default() })
        })
        .collect();
    for chunk in patches.chunks(CHUNK) {
        node.mailboxes.change(&account.id, None, chunk.to_vec()).await.context("the keywords could not be set")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use confique::Config as _;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn an_email_that_was_not_appended_can_be_imported_again() {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::builder().load().unwrap();
        config.data_dir = data.path().to_owned();
        config.screening.dns = "off".to_owned();
        let node = Node::open(config).await.unwrap();
        let claim = Claim::take(&node, "i1").unwrap();
        assert!(Claim::take(&node, "i1").is_none(), "one at a time");
        drop(claim);
        let mut claim = Claim::take(&node, "i1").expect("the first was not appended");
        claim.is_appended = true;
        drop(claim);
        assert!(Claim::take(&node, "i1").is_none(), "it is in the log");
        forget(&node, &[Email { email_id: "i1".to_owned(), keywords: Vec::new() }]);
        assert!(Claim::take(&node, "i1").is_some());
    }
}
