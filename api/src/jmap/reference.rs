//! References to earlier results (RFC 8620 section 3.7): `"#ids": {"resultOf", "name", "path"}`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::request::Invocation;
use crate::error::MethodError;

/// How much one request may copy by reference, in bytes of JSON or so. Without a bound, calls that each refer twice
/// to the one before would double the data with every call.
pub const COPY_BUDGET: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResultReference {
    result_of: String,
    name: String,
    path: String,
}

/// Replaces every `#name` argument by what it refers to.
///
/// # Errors
/// `invalidArguments` when `name` and `#name` are both given, `invalidResultReference` when there is nothing there.
pub fn resolve(
    arguments: Map<String, Value>,
    responses: &[Invocation],
    budget: &mut usize,
) -> Result<Map<String, Value>, MethodError> {
    if !arguments.keys().any(|name| name.starts_with('#')) {
        return Ok(arguments);
    }
    let mut resolved = Map::new();
    for (name, value) in arguments {
        let (name, value) = match name.strip_prefix('#') {
            Some(plain) => (plain.to_owned(), look_up(value, responses, budget)?),
            None => (name, value),
        };
        if resolved.contains_key(&name) {
            return Err(MethodError::invalid(format!("'{name}' is given as a value and as a reference")));
        }
        resolved.insert(name, value);
    }
    Ok(resolved)
}

fn look_up(value: Value, responses: &[Invocation], budget: &mut usize) -> Result<Value, MethodError> {
    let bad = |why: String| MethodError::InvalidResultReference(why);
    let reference: ResultReference = serde_json::from_value(value).map_err(|error| bad(error.to_string()))?;
    let response = responses
        .iter()
        .find(|response| response.call_id == reference.result_of)
        .ok_or_else(|| bad(format!("no call before this one has the id '{}'", reference.result_of)))?;
    if response.name != reference.name {
        let (id, name) = (reference.result_of, &response.name);
        return Err(bad(format!("the response to '{id}' is {name}, not {}", reference.name)));
    }
    let path = reference.path;
    let tokens = parse_pointer(&path).ok_or_else(|| bad(format!("'{path}' is not a JSON pointer")))?;
    match tokens.split_first() {
        None => copy_object(&response.arguments, budget),
        Some((first, rest)) => {
            let value = response.arguments.get(first).ok_or_else(|| bad(format!("'{path}' leads nowhere")))?;
            evaluate(value, rest, budget, &path)
        }
    }
}

fn copy_object(object: &Map<String, Value>, budget: &mut usize) -> Result<Value, MethodError> {
    for value in object.values() {
        spend(value, budget)?;
    }
    Ok(Value::Object(object.clone()))
}

/// RFC 6901: the tokens of a pointer, unescaped.
fn parse_pointer(path: &str) -> Option<Vec<String>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    Some(path.strip_prefix('/')?.split('/').map(unescape).collect())
}

/// `~1` is a slash and `~0` a tilde, in this order.
pub fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn evaluate(value: &Value, tokens: &[String], budget: &mut usize, path: &str) -> Result<Value, MethodError> {
    let nowhere = || MethodError::InvalidResultReference(format!("'{path}' leads nowhere"));
    let Some((token, rest)) = tokens.split_first() else {
        spend(value, budget)?;
        return Ok(value.clone());
    };
    match value {
        Value::Array(items) if token == "*" => {
            let mut flat = Vec::new();
            for item in items {
                *budget = budget.checked_sub(8).ok_or_else(too_much)?;
                match evaluate(item, rest, budget, path)? {
                    Value::Array(inner) => flat.extend(inner),
                    other => flat.push(other),
                }
            }
            Ok(Value::Array(flat))
        }
        Value::Array(items) => {
            let is_index = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
            let index = is_index.then(|| token.parse::<usize>().ok()).flatten().ok_or_else(nowhere)?;
            evaluate(items.get(index).ok_or_else(nowhere)?, rest, budget, path)
        }
        Value::Object(object) => evaluate(object.get(token).ok_or_else(nowhere)?, rest, budget, path),
        _ => Err(nowhere()),
    }
}

fn too_much() -> MethodError {
    MethodError::InvalidResultReference(format!("references copy more than {COPY_BUDGET} bytes in one request"))
}

fn spend(value: &Value, budget: &mut usize) -> Result<(), MethodError> {
    let own = match value {
        Value::String(text) => text.len() + 8,
        Value::Object(object) => object.keys().map(|key| key.len() + 8).sum::<usize>() + 8,
        _ => 8,
    };
    *budget = budget.checked_sub(own).ok_or_else(too_much)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| spend(item, budget)),
        Value::Object(object) => object.values().try_for_each(|item| spend(item, budget)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("not an object") };
        object
    }

    fn resolved(arguments: Value) -> Result<Value, MethodError> {
        let response = json!({"list": [{"id": "a", "emailIds": ["1", "2"]}, {"id": "b", "emailIds": ["3"]}], "x/y": 7});
        let response = Invocation { name: "Thread/get".into(), arguments: object(response), call_id: "t0".into() };
        resolve(object(arguments), &[response], &mut COPY_BUDGET.clone()).map(Value::Object)
    }

    fn reference(path: &str) -> Value {
        json!({"#ids": {"resultOf": "t0", "name": "Thread/get", "path": path}, "other": 1})
    }

    #[test]
    fn a_star_maps_over_an_array_and_flattens() {
        let arguments = resolved(reference("/list/*/emailIds")).unwrap();
        assert_eq!(arguments, json!({"ids": ["1", "2", "3"], "other": 1}));
        assert_eq!(resolved(reference("/list/*/id")).unwrap()["ids"], json!(["a", "b"]));
        assert_eq!(resolved(reference("/list/1/emailIds/0")).unwrap()["ids"], json!("3"));
        assert_eq!(resolved(reference("/x~1y")).unwrap()["ids"], json!(7));
    }

    #[test]
    fn what_leads_nowhere_is_an_error() {
        for path in ["/nothing", "/list/7", "/list/01", "/list/-1", "list", "/list/*/missing", "/list/0/id/deeper"] {
            let error = resolved(reference(path)).unwrap_err();
            assert_eq!(error.kind(), "invalidResultReference", "{path}");
        }
        let other_name = json!({"#ids": {"resultOf": "t0", "name": "Email/get", "path": "/list"}});
        assert_eq!(resolved(other_name).unwrap_err().kind(), "invalidResultReference");
        let both = json!({"ids": [], "#ids": {"resultOf": "t0", "name": "Thread/get", "path": "/list"}});
        assert_eq!(resolved(both).unwrap_err().kind(), "invalidArguments");
    }

    #[test]
    fn copies_are_bounded() {
        let response = Invocation {
            name: "Core/echo".into(),
            arguments: object(json!({"a": "x".repeat(1_000)})),
            call_id: "0".into(),
        };
        let arguments = json!({
            "#a": {"resultOf": "0", "name": "Core/echo", "path": "/a"},
            "#b": {"resultOf": "0", "name": "Core/echo", "path": ""},
        });
        let mut budget = 1_500;
        assert!(resolve(object(arguments), &[response], &mut budget).is_err());
    }
}
