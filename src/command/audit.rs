//! `millrace audit`.

use serde_json::{Value, json};

use crate::admin::client::Client;

pub async fn run(client: &Client, bodies: bool, as_json: bool) -> anyhow::Result<()> {
    let report: Value = client.work("/audit", &json!({ "bodies": bodies })).await?;
    if as_json {
        println!("{}", report["report"]);
    } else {
        print!("{}", report["text"].as_str().unwrap_or_default());
    }
    anyhow::ensure!(report["is_clean"] == true, "the audit found mail that is not where it belongs, once");
    Ok(())
}
