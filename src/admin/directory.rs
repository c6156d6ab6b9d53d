//! Domains, accounts and aliases.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use millrace_directory::DirectoryError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::AdminError;
use crate::node::Node;

#[derive(Debug, Serialize, Deserialize)]
pub struct NewDomain {
    pub name: String,
}

#[derive(Serialize, Deserialize)]
pub struct NewAccount {
    pub address: String,
    pub password: Option<String>,
    pub quota_bytes: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct AccountRow {
    pub id: String,
    pub address: String,
    pub quota_bytes: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Alias {
    pub address: String,
    pub accounts: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Listing {
    pub accounts: Vec<AccountRow>,
    pub aliases: Vec<Alias>,
}

pub async fn list_domains(State(node): State<Arc<Node>>) -> Json<Vec<String>> {
    Json(node.directory.domains())
}

pub async fn add_domain(
    State(node): State<Arc<Node>>,
    Json(domain): Json<NewDomain>,
) -> Result<Json<NewDomain>, AdminError> {
    Ok(Json(NewDomain { name: node.directory.add_domain(&domain.name).await? }))
}

pub async fn remove_domain(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Result<Json<()>, AdminError> {
    Ok(Json(node.directory.remove_domain(&name).await?))
}

pub async fn list_accounts(State(node): State<Arc<Node>>) -> Json<Listing> {
    let row = |account: Arc<millrace_directory::Account>| AccountRow {
        id: account.id.clone(),
        address: account.address.clone(),
        quota_bytes: account.quota_bytes,
    };
    let alias = |(address, accounts)| Alias { address, accounts };
    Json(Listing {
        accounts: node.directory.accounts().into_iter().map(row).collect(),
        aliases: node.directory.aliases().into_iter().map(alias).collect(),
    })
}

pub async fn add_account(
    State(node): State<Arc<Node>>,
    Json(new): Json<NewAccount>,
) -> Result<Json<AccountRow>, AdminError> {
    let account = node.directory.add_account(&new.address, new.password.as_deref(), new.quota_bytes).await?;
    Ok(Json(AccountRow { id: account.id.clone(), address: account.address.clone(), quota_bytes: account.quota_bytes }))
}

/// Removes an account or, when there is none of that address, an alias.
pub async fn remove_account(
    State(node): State<Arc<Node>>,
    Path(address): Path<String>,
) -> Result<Json<Value>, AdminError> {
    match node.directory.account_of(&address) {
        Ok(account) => {
            node.directory.remove_account(&address).await?;
            Ok(Json(json!({ "kind": "account", "id": account.id })))
        }
        Err(unknown) => match node.directory.remove_alias(&address).await {
            Ok(()) => Ok(Json(json!({ "kind": "alias" }))),
            Err(DirectoryError::UnknownAlias(_)) => Err(unknown.into()),
            Err(error) => Err(error.into()),
        },
    }
}

pub async fn add_alias(State(node): State<Arc<Node>>, Json(alias): Json<Alias>) -> Result<Json<()>, AdminError> {
    Ok(Json(node.directory.add_alias(&alias.address, &alias.accounts).await?))
}
