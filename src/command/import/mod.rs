//! `millrace import`: an mbox file, a Maildir or a folder of .eml files.

mod eml;
mod maildir;
mod mbox;

use std::path::Path;

use anyhow::{Context, ensure};
use axum::body::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::admin::client::{Client, progress_bar, segment};

/// Messages that are on their way at once: they share the syncs of the log.
const IN_FLIGHT: usize = 32;

/// A message found on disk.
pub struct Found {
    /// The file, for people.
    pub name: String,
    pub raw: Vec<u8>,
    /// When it was received, where the source tells; microseconds since 1970 UTC.
    pub received_at_us: Option<i64>,
    /// JMAP keywords (RFC 8621 section 4.1.1).
    pub keywords: Vec<&'static str>,
}

type Messages = Box<dyn Iterator<Item = anyhow::Result<Found>> + Send>;

pub async fn run(client: &Client, path: &Path, address: &str) -> anyhow::Result<()> {
    let (total, messages) = open(path)?;
    let () = client.get(&format!("/import/{}", segment(address))).await?;
    let bar = progress_bar();
    bar.set_message("importing");
    bar.set_length(total);
    let sent = futures::stream::iter(messages).map(|found| send(client, address, found));
    let mut sent = sent.buffer_unordered(IN_FLIGHT);
    let (mut ids, mut present, mut failed) = (Vec::new(), 0_u64, 0_u64);
    while let Some(outcome) = sent.next().await {
        bar.inc(1);
        match outcome {
            Ok((id, is_new, keywords)) => {
                present += u64::from(!is_new);
                ids.push(json!({ "email_id": id, "keywords": keywords }));
            }
            Err(error) => {
                failed += 1;
                bar.suspend(|| eprintln!("left out: {error:#}"));
            }
        }
    }
    bar.finish_and_clear();
    let imported = ids.len() as u64 - present;
    if !ids.is_empty() {
        let path = format!("/import/{}/finish", segment(address));
        let _: Value = client.work(&path, &json!({ "emails": ids })).await?;
    }
    println!("imported {imported} messages into {address}; {present} were there already");
    ensure!(failed == 0, "{failed} messages were left out, see above; mend them and repeat the import");
    Ok(())
}

async fn send(
    client: &Client,
    address: &str,
    found: anyhow::Result<Found>,
) -> anyhow::Result<(String, bool, Vec<&'static str>)> {
    let found = found?;
    let query = found.received_at_us.map(|at| format!("?received_at_us={at}")).unwrap_or_default();
    let path = format!("/import/{}/message{query}", segment(address));
    let answer: Value = client.post_bytes(&path, Bytes::from(found.raw)).await.with_context(|| found.name.clone())?;
    let id = answer["email_id"].as_str().context("the node gave an answer that is not understood")?;
    Ok((id.to_owned(), answer["is_new"] == true, found.keywords))
}

/// Tells what `path` is from what it looks like, and counts its messages.
fn open(path: &Path) -> anyhow::Result<(u64, Messages)> {
    ensure!(path.exists(), "{} does not exist; give an mbox file, a Maildir or a folder of .eml files", path.display());
    if path.join("cur").is_dir() || path.join("new").is_dir() {
        maildir::open(path)
    } else if path.is_dir() {
        eml::open_folder(path)
    } else if mbox::is_mbox(path)? {
        mbox::open(path)
    } else {
        eml::open_file(path)
    }
}
