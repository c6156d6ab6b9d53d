//! `millrace domain`.

use crate::admin::client::{Client, segment};
use crate::cli::Domain;

pub async fn run(client: &Client, command: Domain) -> anyhow::Result<()> {
    match command {
        Domain::Add { name } => {
            let added: serde_json::Value = client.post("/domains", &serde_json::json!({ "name": name })).await?;
            println!("mail for {} is taken now", added["name"].as_str().unwrap_or(&name));
        }
        Domain::List => {
            let domains: Vec<String> = client.get("/domains").await?;
            domains.iter().for_each(|domain| println!("{domain}"));
        }
        Domain::Remove { name } => {
            let () = client.delete(&format!("/domains/{}", segment(&name))).await?;
            println!("no more mail is taken for {name}");
        }
    }
    Ok(())
}
