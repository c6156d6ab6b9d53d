//! A client that reads mail.

use std::net::SocketAddr;

use anyhow::Context;
use base64::Engine;
use serde_json::{Value, json};

use crate::peer::PASSWORD;

/// One account at one process.
pub struct Jmap {
    url: String,
    authorization: String,
    pub account_id: String,
}

impl Jmap {
    pub fn connect(http: SocketAddr, address: &str) -> anyhow::Result<Self> {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{address}:{PASSWORD}"));
        let authorization = format!("Basic {credentials}");
        let mut session =
            ureq::get(format!("http://{http}/jmap/session")).header("authorization", &authorization).call()?;
        let session: Value = serde_json::from_str(&session.body_mut().read_to_string()?)?;
        let account_id = session["primaryAccounts"]["urn:ietf:params:jmap:mail"].as_str().context("no account")?;
        Ok(Self { url: format!("http://{http}/jmap"), authorization, account_id: account_id.to_owned() })
    }

    pub fn calls(&self, calls: &Value) -> anyhow::Result<Value> {
        let using = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"];
        let request = json!({ "using": using, "methodCalls": calls });
        let mut response = ureq::post(&self.url)
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .send(request.to_string().as_bytes())?;
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
        let answer: Value = serde_json::from_str(&text)?;
        Ok(answer["methodResponses"].clone())
    }

    /// Emails that match.
    pub fn total(&self, filter: Value) -> anyhow::Result<usize> {
        let query = json!({ "accountId": self.account_id, "filter": filter, "calculateTotal": true, "limit": 1 });
        let answer = self.calls(&json!([["Email/query", query, "0"]]))?;
        Ok(answer[0][1]["total"].as_u64().with_context(|| answer.to_string())? as usize)
    }

    /// Emails in all mailboxes; an email of the bench is in one of them.
    pub fn held(&self) -> anyhow::Result<usize> {
        let get = json!({ "accountId": self.account_id, "ids": null, "properties": ["totalEmails"] });
        let answer = self.calls(&json!([["Mailbox/get", get, "0"]]))?;
        let list = answer[0][1]["list"].as_array().with_context(|| answer.to_string())?;
        Ok(list.iter().filter_map(|mailbox| mailbox["totalEmails"].as_u64()).sum::<u64>() as usize)
    }
}
