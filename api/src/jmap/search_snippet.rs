//! Search snippets (RFC 8621 section 5): where the searched text stands in subject and body.

use std::sync::Arc;

use mail_parser::decoders::html::html_to_text;
use millrace_query::mail::Facts;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::arguments::{self, object};
use super::dispatch::Call;
use super::email::{Filters, read_body};
use crate::error::MethodError;
use crate::mime::bodies::Bodies;
use crate::mime::decode;
use crate::mime::structure::Part;
use crate::snippet::{Terms, snippet};

/// Bodies that one call reads; beyond, only subject and preview are searched.
const MAX_BODIES: usize = 50;
/// Text of a body that is looked at.
const MAX_TEXT_BYTES: usize = 256 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    account_id: String,
    filter: Option<Value>,
    email_ids: Vec<String>,
}

/// `SearchSnippet/get` (section 5.1).
pub async fn get(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: Arguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let most = call.api.options.max_objects_in_get;
    if asked.email_ids.len() > most {
        return Err(MethodError::RequestTooLarge(most));
    }
    let filters = Filters::parse(asked.filter.as_ref())?;
    let in_subject = Terms::of(filters.texts.iter().flat_map(|query| [&query.text, &query.subject]).flatten());
    let in_body = Terms::of(filters.texts.iter().flat_map(|query| [&query.text, &query.body]).flatten());
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let live: Vec<&str> = asked.email_ids.iter().map(|id| call.id(id)).filter(|id| view.get(id).is_some()).collect();
    let facts = call.api.mailboxes.facts(&call.account.id, &live).await?;
    let (mut list, mut not_found, mut bodies_left) = (Vec::new(), Vec::new(), MAX_BODIES);
    for id in &asked.email_ids {
        let Some(facts) = facts.iter().find(|facts| facts.email_id == call.id(id)) else {
            not_found.push(id.as_str());
            continue;
        };
        let subject = facts.summary.subject.as_deref().and_then(|subject| in_subject.mark(subject));
        let preview = preview(call, facts, &in_body, &mut bodies_left).await?;
        list.push(json!({ "emailId": id, "subject": subject, "preview": preview }));
    }
    let not_found = (!not_found.is_empty()).then_some(not_found);
    Ok(object(json!({ "accountId": call.account.id, "list": list, "notFound": not_found })))
}

async fn preview(
    call: &Call<'_>,
    facts: &Arc<Facts>,
    terms: &Terms,
    bodies_left: &mut usize,
) -> Result<Option<String>, MethodError> {
    if let Some(marked) = snippet(&facts.summary.preview, terms) {
        return Ok(Some(marked));
    }
    if terms.is_empty() || *bodies_left == 0 {
        return Ok(None);
    }
    *bodies_left -= 1;
    let message = match read_body(call.api, facts).await {
        Ok(message) => message,
        Err(MethodError::ServerFail) => return Ok(None),
        Err(error) => return Err(error),
    };
    let terms = terms.clone();
    let searched = tokio::task::spawn_blocking(move || {
        let root = Part::parse(&message);
        let bodies = Bodies::of(&root);
        bodies.text.iter().filter(|part| part.is_text()).find_map(|part| {
            let text = decode::text(part, MAX_TEXT_BYTES).value;
            let text = if part.media_type == "text/html" { html_to_text(&text) } else { text };
            snippet(&text, &terms)
        })
    });
    searched.await.map_err(|_| MethodError::ServerFail)
}
