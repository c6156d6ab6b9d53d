//! Properties that come from the stored body: headers, structure, text.

use std::collections::HashSet;

use mail_parser::HeaderValue;
use serde_json::{Map, Value, json};

use super::header::{message_ids, text};
use super::property::{PartProperty, Property};
use crate::jmap::blob_id::BlobId;
use crate::mime::bodies::Bodies;
use crate::mime::decode;
use crate::mime::fields::Field;
use crate::mime::structure::{Part, parse_value};

/// What `Email/get` asks of bodies.
#[derive(Clone, Debug)]
pub struct BodyRequest {
    /// Those that need the body.
    pub properties: Vec<Property>,
    pub part_properties: Vec<PartProperty>,
    pub is_text_fetched: bool,
    pub is_html_fetched: bool,
    pub is_all_fetched: bool,
    /// 0: all.
    pub max_value_bytes: usize,
}

/// Adds the asked properties of a message to `email`.
pub fn render(request: &BodyRequest, email_id: &str, message: &[u8], email: &mut Map<String, Value>) {
    let root = Part::parse(message);
    let bodies = Bodies::of(&root);
    let renderer = Renderer { request, email_id };
    for property in &request.properties {
        let (name, value) = match property {
            Property::Headers => ("headers", headers(&root.fields)),
            Property::Header { asked, header } => (asked.as_str(), header.value(&root.fields)),
            Property::BodyStructure => ("bodyStructure", renderer.part(&root, true)),
            Property::BodyValues => ("bodyValues", renderer.values(&root, &bodies)),
            Property::TextBody => ("textBody", renderer.parts(&bodies.text)),
            Property::HtmlBody => ("htmlBody", renderer.parts(&bodies.html)),
            Property::Attachments => ("attachments", renderer.parts(&bodies.attachments)),
            Property::Metadata(_) => continue,
        };
        email.insert(name.to_owned(), value);
    }
}

fn headers(fields: &[Field<'_>]) -> Value {
    fields.iter().map(|field| json!({ "name": field.name, "value": field.raw() })).collect()
}

struct Renderer<'a> {
    request: &'a BodyRequest,
    email_id: &'a str,
}

impl Renderer<'_> {
    fn parts(&self, parts: &[&Part<'_>]) -> Value {
        parts.iter().map(|part| self.part(part, false)).collect()
    }

    /// `is_tree`: with its parts below it, which only `bodyStructure` has.
    fn part(&self, part: &Part<'_>, is_tree: bool) -> Value {
        let mut object = Map::new();
        for property in &self.request.part_properties {
            match property {
                PartProperty::Header { asked, header } => {
                    object.insert(asked.clone(), header.value(&part.fields));
                }
                PartProperty::Plain(name) => {
                    object.insert((*name).to_owned(), self.part_value(part, name));
                }
            }
        }
        if is_tree && part.is_multipart() {
            let below = part.parts.iter().map(|child| self.part(child, true)).collect();
            object.insert("subParts".to_owned(), below);
        }
        Value::Object(object)
    }

    fn part_value(&self, part: &Part<'_>, name: &str) -> Value {
        let id = part.id.map(|id| id.to_string());
        match name {
            "partId" => json!(id),
            "blobId" => json!(id.map(|id| BlobId::of_part(&id, self.email_id))),
            "size" if part.is_multipart() => 0.into(),
            "size" => decode::octets(part).bytes.len().into(),
            "headers" => headers(&part.fields),
            "name" => json!(part.name),
            "type" => part.media_type.as_str().into(),
            "charset" => json!(part.charset),
            "disposition" => json!(part.disposition),
            "cid" => part.field("Content-Id").map_or(Value::Null, |field| match message_ids(field.value) {
                Value::Array(mut ids) if !ids.is_empty() => ids.swap_remove(0),
                _ => Value::Null,
            }),
            "language" => part.field("Content-Language").map_or(Value::Null, |field| languages(field.value)),
            "location" => part.field("Content-Location").map_or(Value::Null, |field| text(field.value).into()),
            _ => Value::Null,
        }
    }

    fn values(&self, root: &Part<'_>, bodies: &Bodies<'_, '_>) -> Value {
        let request = self.request;
        let mut wanted = Vec::new();
        if request.is_text_fetched {
            wanted.extend_from_slice(&bodies.text);
        }
        if request.is_html_fetched {
            wanted.extend_from_slice(&bodies.html);
        }
        if request.is_all_fetched {
            wanted.extend(root.leaves());
        }
        let mut values = Map::new();
        let mut seen = HashSet::new();
        for part in wanted.into_iter().filter(|part| part.is_text()) {
            let Some(id) = part.id.filter(|id| seen.insert(*id)) else { continue };
            let text = decode::text(part, request.max_value_bytes);
            let value = json!({
                "value": text.value, "isEncodingProblem": text.is_problem, "isTruncated": text.is_truncated,
            });
            values.insert(id.to_string(), value);
        }
        Value::Object(values)
    }
}

fn languages(value: &[u8]) -> Value {
    match parse_value(value, |stream| stream.parse_comma_separared()) {
        HeaderValue::Text(language) => json!([language]),
        HeaderValue::TextList(languages) => json!(languages),
        _ => Value::Null,
    }
}
