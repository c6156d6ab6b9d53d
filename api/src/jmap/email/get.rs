//! `Email/get` (RFC 8621 section 4.2).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use millrace_query::mail::{AccountView, EmailVersion, Facts};
use millrace_storage::BodyRef;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::{self, BodyRequest};
use super::metadata;
use super::property::{Needs, PartProperty, Property};
use crate::Api;
use crate::error::MethodError;
use crate::jmap::arguments::{self, object};
use crate::jmap::dispatch::Call;

/// Bodies that one call reads at the same time.
const CONCURRENT_BODIES: usize = 4;
/// The most that one call reads of bodies, so that an answer fits in memory; a single email is always read.
const MAX_BODY_BYTES: i64 = 128 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    account_id: String,
    ids: Option<Vec<String>>,
    properties: Option<Vec<String>>,
    body_properties: Option<Vec<String>>,
    fetch_text_body_values: Option<bool>,
    #[serde(rename = "fetchHTMLBodyValues")]
    fetch_html_body_values: Option<bool>,
    fetch_all_body_values: Option<bool>,
    max_body_value_bytes: Option<usize>,
}

pub async fn get(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: Arguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let properties = properties(&asked)?;
    let needs = properties.iter().map(Property::needs).max().unwrap_or(Needs::Version);
    let body_request = Arc::new(body_request(&asked, &properties)?);
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let (found, mut not_found) = find(call, &view, asked.ids.as_deref())?;
    let facts = if needs >= Needs::Facts { facts_of(call, &found).await? } else { HashMap::new() };
    if needs == Needs::Body && found.len() > 1 {
        let total: i64 = found.iter().map(|email| email.size_bytes).sum();
        if total > MAX_BODY_BYTES {
            return Err(MethodError::RequestTooLarge(found.len() / 2));
        }
    }
    let mut list = Vec::with_capacity(found.len());
    let mut reads = Vec::with_capacity(found.len());
    for email in &found {
        let (facts, body_request) = (facts.get(&*email.email_id).cloned(), body_request.clone());
        reads.push(one(call.api, email, facts, &properties, needs, body_request));
    }
    let mut rendered = futures::stream::iter(reads).buffered(CONCURRENT_BODIES);
    let mut index = 0;
    while let Some(outcome) = rendered.next().await {
        match outcome? {
            Some(email) => list.push(Value::Object(email)),
            None => not_found.push(found[index].email_id.to_string()),
        }
        index += 1;
    }
    Ok(object(json!({
        "accountId": call.account.id, "state": view.state.to_string(), "list": list, "notFound": not_found,
    })))
}

fn properties(asked: &Arguments) -> Result<Vec<Property>, MethodError> {
    match &asked.properties {
        None => Ok(Property::defaults()),
        Some(names) => {
            let id = (!names.iter().any(|name| name == "id")).then_some("id");
            id.into_iter().chain(names.iter().map(String::as_str)).map(Property::parse).collect()
        }
    }
}

fn body_request(asked: &Arguments, properties: &[Property]) -> Result<BodyRequest, MethodError> {
    let part_properties = match &asked.body_properties {
        None => PartProperty::defaults(),
        Some(names) => names.iter().map(|name| PartProperty::parse(name)).collect::<Result<_, _>>()?,
    };
    Ok(BodyRequest {
        properties: properties.iter().filter(|property| property.needs() == Needs::Body).cloned().collect(),
        part_properties,
        is_text_fetched: asked.fetch_text_body_values.unwrap_or(false),
        is_html_fetched: asked.fetch_html_body_values.unwrap_or(false),
        is_all_fetched: asked.fetch_all_body_values.unwrap_or(false),
        max_value_bytes: asked.max_body_value_bytes.unwrap_or(0),
    })
}

type Found = (Vec<Arc<EmailVersion>>, Vec<String>);

/// The emails with these ids (each once), and the ids without one.
fn find(call: &Call<'_>, view: &AccountView, ids: Option<&[String]>) -> Result<Found, MethodError> {
    let most = call.api.options.max_objects_in_get;
    let Some(ids) = ids else {
        let all: Vec<_> = view.iter_newest_first().take(most + 1).cloned().collect();
        return if all.len() > most { Err(MethodError::RequestTooLarge(most)) } else { Ok((all, Vec::new())) };
    };
    if ids.len() > most {
        return Err(MethodError::RequestTooLarge(most));
    }
    let (mut found, mut not_found, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
        match view.get(call.id(id)).filter(|email| !email.is_destroyed) {
            Some(email) => found.push(email.clone()),
            None => not_found.push(id.clone()),
        }
    }
    Ok((found, not_found))
}

/// The facts of these emails, by email id.
pub(crate) async fn facts_of(
    call: &Call<'_>,
    emails: &[Arc<EmailVersion>],
) -> Result<HashMap<String, Arc<Facts>>, MethodError> {
    let ids: Vec<&str> = emails.iter().map(|email| &*email.email_id).collect();
    let facts = call.api.mailboxes.facts(&call.account.id, &ids).await?;
    Ok(facts.into_iter().map(|facts| (facts.email_id.clone(), facts)).collect())
}

/// `None` when the email went while it was read, or its body is damaged: the others of the list are still shown.
async fn one(
    api: &Api,
    email: &EmailVersion,
    facts: Option<Arc<Facts>>,
    properties: &[Property],
    needs: Needs,
    body_request: Arc<BodyRequest>,
) -> Result<Option<Map<String, Value>>, MethodError> {
    if needs >= Needs::Facts && facts.is_none() {
        return Ok(None);
    }
    let mut object = Map::new();
    for property in properties {
        if let Property::Metadata(name) = property {
            object.insert((*name).to_owned(), metadata::value(name, email, facts.as_deref()));
        }
    }
    let Some(facts) = facts.filter(|_| needs == Needs::Body) else { return Ok(Some(object)) };
    let message = match read_body(api, &facts).await {
        Ok(message) => message,
        Err(MethodError::ServerFail) => return Ok(None),
        Err(error) => return Err(error),
    };
    let email_id = email.email_id.clone();
    let rendered = tokio::task::spawn_blocking(move || {
        body::render(&body_request, &email_id, &message, &mut object);
        object
    });
    rendered.await.map(Some).map_err(|_| MethodError::ServerFail)
}

/// The stored body of an email.
pub(crate) async fn read_body(api: &Api, facts: &Facts) -> Result<Bytes, MethodError> {
    let reference: BodyRef = facts.body.parse().map_err(|error| {
        tracing::error!(email_id = %facts.email_id, %error, "an email has no body");
        MethodError::ServerFail
    })?;
    Ok(api.blobs.get(&reference).await?)
}
