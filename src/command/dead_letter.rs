//! `millrace dead-letter`.

use anyhow::ensure;
use serde_json::{Value, json};

use super::print_columns;
use crate::admin::client::Client;
use crate::cli::DeadLetter;

pub async fn run(client: &Client, command: DeadLetter) -> anyhow::Result<()> {
    match command {
        DeadLetter::List => list(client).await,
        DeadLetter::Show { id } => {
            let letter: Value = client.get(&format!("/dead-letters/{id}")).await?;
            println!("{}", serde_json::to_string_pretty(&letter)?);
            Ok(())
        }
        DeadLetter::Retry { id: Some(id), .. } => retry(client, &id).await,
        DeadLetter::Retry { id: None, .. } => {
            let mut failed = 0;
            for letter in letters(client).await? {
                if let Err(error) = retry(client, letter["id"].as_str().unwrap_or_default()).await {
                    eprintln!("not tried again: {error:#}");
                    failed += 1;
                }
            }
            ensure!(failed == 0, "{failed} dead letters were not tried again, see above");
            Ok(())
        }
    }
}

async fn letters(client: &Client) -> anyhow::Result<Vec<Value>> {
    client.get("/dead-letters").await
}

async fn list(client: &Client) -> anyhow::Result<()> {
    let letters = letters(client).await?;
    if letters.is_empty() {
        println!("there are no dead letters");
        return Ok(());
    }
    let mut rows = vec![["ID", "FAILED AT", "STAGE", "MESSAGE", "ERROR"].map(str::to_owned).to_vec()];
    for letter in &letters {
        let text = |field: &str| letter[field].as_str().unwrap_or("-").to_owned();
        rows.push(["id", "failed_at", "stage", "message_id", "error"].map(text).to_vec());
    }
    print_columns(&rows);
    Ok(())
}

async fn retry(client: &Client, id: &str) -> anyhow::Result<()> {
    let () = client.post(&format!("/dead-letters/{id}/retry"), &json!({})).await?;
    println!("{id} goes through the pipeline again");
    Ok(())
}
