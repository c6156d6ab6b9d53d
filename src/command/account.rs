//! `millrace account`.

use std::io::BufRead;

use anyhow::Context;
use serde_json::json;

use super::print_columns;
use crate::admin::client::{Client, segment};
use crate::cli::Account;

pub async fn run(client: &Client, command: Account) -> anyhow::Result<()> {
    match command {
        Account::Add { address, password_stdin, quota } => add(client, &address, password_stdin, quota).await,
        Account::List => list(client).await,
        Account::Remove { address } => {
            let removed: serde_json::Value = client.delete(&format!("/accounts/{}", segment(&address))).await?;
            match removed["kind"].as_str() {
                Some("alias") => println!("removed the alias {address}: the accounts that it led to stay"),
                _ => println!(
                    "removed {address}: it takes no more mail, and nobody can log in to it; what it had stays in the \
                     tables, under {}",
                    removed["id"].as_str().unwrap_or("its id")
                ),
            }
            Ok(())
        }
        Account::Alias { alias, accounts } => {
            let () = client.post("/aliases", &json!({ "address": alias, "accounts": accounts })).await?;
            println!("{alias} leads to {}", accounts.join(", "));
            Ok(())
        }
    }
}

async fn add(client: &Client, address: &str, password_stdin: bool, quota: Option<u64>) -> anyhow::Result<()> {
    let password = password_stdin.then(read_password).transpose()?;
    let is_open = password.is_some();
    let new = json!({ "address": address, "password": password, "quota_bytes": quota });
    let account: serde_json::Value = client.post("/accounts", &new).await?;
    println!("account {} is {}", account["address"].as_str().unwrap_or(address), account["id"].as_str().unwrap_or("?"));
    if !is_open {
        println!("it has no password, so nobody can log in to it; --password-stdin sets one");
    }
    Ok(())
}

fn read_password() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("no password could be read from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn list(client: &Client) -> anyhow::Result<()> {
    let listing: serde_json::Value = client.get("/accounts").await?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows = vec![vec!["ADDRESS".to_owned(), "ACCOUNT".to_owned(), "QUOTA".to_owned()]];
    for account in listing["accounts"].as_array().into_iter().flatten() {
        let quota = account["quota_bytes"].as_u64().map_or("none".to_owned(), |bytes| bytes.to_string());
        rows.push(vec![text(&account["address"]), text(&account["id"]), quota]);
    }
    for alias in listing["aliases"].as_array().into_iter().flatten() {
        let targets: Vec<String> = alias["accounts"].as_array().into_iter().flatten().map(text).collect();
        rows.push(vec![text(&alias["address"]), format!("-> {}", targets.join(", "))]);
    }
    print_columns(&rows);
    Ok(())
}
