//! `millrace rebuild`.

use serde_json::json;

use crate::admin::client::Client;
use crate::cli::Rebuild;

pub async fn run(client: &Client, what: Rebuild) -> anyhow::Result<()> {
    let (path, name) = match what {
        Rebuild::Hot => ("/rebuild/hot", "recent mail"),
        Rebuild::Search => ("/rebuild/search", "the search index"),
    };
    let result: serde_json::Value = client.work(path, &json!({})).await?;
    println!("{name} is built again from {} emails", result["emails"]);
    Ok(())
}
