//! A JMAP client as thin as can be.

use std::net::SocketAddr;

use base64::Engine;
use serde_json::{Value, json};

use super::server::PASSWORD;

pub struct Jmap {
    http: SocketAddr,
    authorization: String,
    pub account_id: String,
}

impl Jmap {
    pub fn connect(http: SocketAddr, address: &str) -> Self {
        let authorization =
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{address}:{PASSWORD}")));
        let mut client = Self { http, authorization, account_id: String::new() };
        let session: Value = serde_json::from_slice(&client.get("/jmap/session")).unwrap();
        client.account_id =
            session["primaryAccounts"]["urn:ietf:params:jmap:mail"].as_str().expect("a mail account").to_owned();
        client
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        let url = format!("http://{}{path}", self.http);
        let mut response = ureq::get(&url)
            .header("authorization", &self.authorization)
            .call()
            .unwrap_or_else(|e| panic!("{url}: {e}"));
        response.body_mut().with_config().limit(100 << 20).read_to_vec().unwrap()
    }

    /// A response that goes on.
    pub fn open(&self, path: &str) -> impl std::io::Read + use<> {
        let url = format!("http://{}{path}", self.http);
        ureq::get(&url).header("authorization", &self.authorization).call().unwrap().into_body().into_reader()
    }

    /// One method call; the answer must be no error.
    pub fn call(&self, method: &str, mut arguments: Value) -> Value {
        arguments["accountId"] = json!(self.account_id);
        let request = json!({
            "using": ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"],
            "methodCalls": [[method, arguments, "0"]],
        });
        let mut response = ureq::post(format!("http://{}/jmap", self.http))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .send(request.to_string().as_bytes())
            .unwrap();
        let text = response.body_mut().with_config().limit(100 << 20).read_to_string().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let call = &answer["methodResponses"][0];
        assert_eq!(call[0], method, "{answer}");
        call[1].clone()
    }

    /// Ids of all emails that a filter lets through, newest first.
    pub fn query(&self, filter: Value) -> Vec<String> {
        let sort = json!([{ "property": "receivedAt", "isAscending": false }]);
        let mut ids = Vec::new();
        loop {
            let arguments = json!({ "filter": filter, "sort": sort, "position": ids.len(), "limit": 500 });
            let page = self.call("Email/query", arguments);
            let page = page["ids"].as_array().unwrap();
            ids.extend(page.iter().map(|id| id.as_str().unwrap().to_owned()));
            if page.is_empty() {
                return ids;
            }
        }
    }

    /// Properties of emails, in the order of the ids.
    pub fn emails(&self, ids: &[String], properties: &[&str]) -> Vec<Value> {
        let mut emails = Vec::new();
        for ids in ids.chunks(200) {
            let page = self.call("Email/get", json!({ "ids": ids, "properties": properties }));
            emails.extend(page["list"].as_array().unwrap().iter().cloned());
        }
        emails
    }

    /// The stored message.
    pub fn download(&self, blob_id: &str) -> Vec<u8> {
        self.get(&format!("/jmap/download/{}/{blob_id}/message.eml?type=message/rfc822", self.account_id))
    }
}
