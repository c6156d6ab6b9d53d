//! What standard methods share (RFC 8620 section 5): their arguments, and the objects that they answer with.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::MethodError;

/// Reads the arguments of a method.
///
/// # Errors
/// `invalidArguments` that names what is wrong.
pub fn parse<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, MethodError> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| MethodError::invalid(error.to_string()))
}

/// `/get` (section 5.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetArguments {
    pub account_id: String,
    pub ids: Option<Vec<String>>,
    pub properties: Option<Vec<String>>,
}

/// `/changes` (section 5.2).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangesArguments {
    pub account_id: String,
    pub since_state: String,
    pub max_changes: Option<usize>,
}

/// One element of `sort` (section 5.5).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Comparator {
    pub property: String,
    #[serde(default = "yes")]
    pub is_ascending: bool,
    pub collation: Option<String>,
    pub keyword: Option<String>,
}

fn yes() -> bool {
    true
}

/// Refuses properties that the type does not have.
///
/// # Errors
/// `invalidArguments`.
pub fn check_properties(asked: &[String], known: &[&str]) -> Result<(), MethodError> {
    match asked.iter().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(MethodError::invalid(format!("there is no property '{unknown}'"))),
        None => Ok(()),
    }
}

/// Keeps `id` and what was asked for.
pub fn keep_properties(object: &mut Map<String, Value>, asked: Option<&[String]>) {
    if let Some(asked) = asked {
        object.retain(|name, _| name == "id" || asked.iter().any(|property| property == name));
    }
}

/// The object that a `json!` literal is.
pub fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}
