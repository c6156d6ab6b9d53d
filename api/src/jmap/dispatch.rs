//! Runs the calls of a request in order (RFC 8620 section 3.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_directory::Account;
use serde_json::{Map, Value, json};

use super::reference::{self, COPY_BUDGET};
use super::request::{Invocation, Request};
use super::session::{CORE, MAIL, session_state};
use super::{core, email, mailbox, search_snippet, thread};
use crate::Api;
use crate::error::MethodError;

/// What a method needs to know of who calls it.
pub struct Call<'a> {
    pub api: &'a Api,
    pub account: &'a Account,
    /// Creation ids of this request and what the client sent.
    pub created_ids: &'a BTreeMap<String, String>,
}

impl Call<'_> {
    /// An account id in arguments must be the authenticated account's own.
    ///
    /// # Errors
    /// `accountNotFound`, whether or not another account has the id.
    pub fn check_account(&self, account_id: &str) -> Result<(), MethodError> {
        if account_id == self.account.id { Ok(()) } else { Err(MethodError::AccountNotFound) }
    }

    /// `#name` in place of an id means the id that was created under this name.
    pub fn id<'b>(&'b self, id: &'b str) -> &'b str {
        id.strip_prefix('#').and_then(|name| self.created_ids.get(name)).map_or(id, String::as_str)
    }
}

type Outcome = Result<Map<String, Value>, MethodError>;

/// Runs a request and gives the response object. An error of one call is its response; the next goes on.
pub async fn run(api: &Api, account: &Arc<Account>, request: Request) -> Value {
    let mut responses: Vec<Invocation> = Vec::with_capacity(request.method_calls.len());
    let mut budget = COPY_BUDGET;
    let created_ids = request.created_ids.clone().unwrap_or_default();
    for Invocation { name, arguments, call_id } in request.method_calls {
        let call = Call { api, account, created_ids: &created_ids };
        let outcome = match reference::resolve(arguments, &responses, &mut budget) {
            Ok(arguments) => Box::pin(invoke(&call, &request.using, &name, arguments)).await,
            Err(error) => Err(error),
        };
        metrics::counter!("millrace_api_calls_total", "result" => outcome.as_ref().err().map_or("ok", MethodError::kind))
            .increment(1);
        responses.push(match outcome {
            Ok(arguments) => Invocation { name, arguments, call_id },
            Err(error) => Invocation { name: "error".into(), arguments: error.arguments(), call_id },
        });
    }
    let mut response = json!({ "sessionState": session_state(api, account) });
    response["methodResponses"] = responses.into_iter().map(Invocation::into_json).collect();
    if let Some(created_ids) = request.created_ids {
        response["createdIds"] = json!(created_ids);
    }
    response
}

async fn invoke(call: &Call<'_>, using: &[String], name: &str, arguments: Map<String, Value>) -> Outcome {
    let capability = if name.starts_with("Core/") { CORE } else { MAIL };
    if !using.iter().any(|used| used == capability) {
        return Err(MethodError::UnknownMethod);
    }
    match name {
        "Core/echo" => Ok(core::echo(arguments)),
        "Mailbox/get" => mailbox::get(call, arguments).await,
        "Mailbox/changes" => mailbox::changes(call, arguments).await,
        "Mailbox/query" => mailbox::query(call, arguments).await,
        "Mailbox/queryChanges" => mailbox::query_changes(call, arguments).await,
        "Mailbox/set" => mailbox::set(call, arguments).await,
        "Thread/get" => thread::get(call, arguments).await,
        "Thread/changes" => thread::changes(call, arguments).await,
        "Email/get" => email::get(call, arguments).await,
        "Email/changes" => email::changes(call, arguments).await,
        "Email/query" => email::query(call, arguments).await,
        "Email/queryChanges" => email::query_changes(call, arguments).await,
        "Email/set" => email::set(call, arguments).await,
        "SearchSnippet/get" => search_snippet::get(call, arguments).await,
        _ => Err(MethodError::UnknownMethod),
    }
}
