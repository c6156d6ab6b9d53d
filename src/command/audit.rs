//! `millrace audit`.

use serde_json::{Value, json};

use crate::admin::client::Client;

pub async fn run(client: &Client, bodies: bool) -> anyhow::Result<()> {
    let report: Value = client.work("/audit", &json!({ "bodies": bodies })).await?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    anyhow::ensure!(report["is_clean"] == true, "the audit found mail that is not where it belongs; see above");
    println!("audit clean: every message is where it belongs, once");
    Ok(())
}
