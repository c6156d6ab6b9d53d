//! The request object (RFC 8620 section 3.3): parsed, and checked against the limits of the session.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ijson;
use super::session::CAPABILITIES;
use crate::error::RequestError;
use crate::options::Options;

/// A method call, or a response to one (RFC 8620 section 3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    pub name: String,
    pub arguments: Map<String, Value>,
    pub call_id: String,
}

impl Invocation {
    pub fn into_json(self) -> Value {
        Value::Array(vec![self.name.into(), Value::Object(self.arguments), self.call_id.into()])
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub using: Vec<String>,
    pub method_calls: Vec<Invocation>,
    /// Creation id to id; returned only to a client that sent it.
    pub created_ids: Option<BTreeMap<String, String>>,
}

impl Request {
    /// # Errors
    /// Those of RFC 8620 section 3.6.1.
    pub fn parse(body: &[u8], options: &Options) -> Result<Self, RequestError> {
        if body.len() > options.max_size_request {
            return Err(RequestError::Limit("maxSizeRequest", options.max_size_request));
        }
        Self::from_json(ijson::parse(body).map_err(RequestError::NotJson)?, options)
    }

    /// The same for a request that is already JSON, as a WebSocket message is.
    pub fn from_json(json: Value, options: &Options) -> Result<Self, RequestError> {
        let Value::Object(mut object) = json else { return Err(not_request("it is not an object")) };
        let using = strings(object.remove("using")).ok_or_else(|| not_request("'using' is not an array of strings"))?;
        let Some(Value::Array(calls)) = object.remove("methodCalls") else {
            return Err(not_request("'methodCalls' is not an array"));
        };
        if calls.len() > options.max_calls_in_request {
            return Err(RequestError::Limit("maxCallsInRequest", options.max_calls_in_request));
        }
        let method_calls = calls.into_iter().map(invocation).collect::<Result<_, _>>()?;
        let created_ids = created_ids(object.remove("createdIds"))?;
        match using.iter().find(|capability| !CAPABILITIES.contains(&capability.as_str())) {
            Some(unknown) => Err(RequestError::UnknownCapability(unknown.clone())),
            None => Ok(Self { using, method_calls, created_ids }),
        }
    }
}

fn not_request(why: &str) -> RequestError {
    RequestError::NotRequest(why.to_owned())
}

fn strings(value: Option<Value>) -> Option<Vec<String>> {
    let Some(Value::Array(values)) = value else { return None };
    values.into_iter().map(|value| if let Value::String(text) = value { Some(text) } else { None }).collect()
}

fn invocation(value: Value) -> Result<Invocation, RequestError> {
    let bad = || not_request("a method call is not [name, arguments, call id]");
    let Value::Array(items) = value else { return Err(bad()) };
    let [name, arguments, call_id] = <[Value; 3]>::try_from(items).map_err(|_| bad())?;
    match (name, arguments, call_id) {
        (Value::String(name), Value::Object(arguments), Value::String(call_id)) => {
            Ok(Invocation { name, arguments, call_id })
        }
        _ => Err(bad()),
    }
}

fn created_ids(value: Option<Value>) -> Result<Option<BTreeMap<String, String>>, RequestError> {
    let bad = || not_request("'createdIds' is not a map of ids");
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => {
            let pairs = map.into_iter().map(|(key, id)| Some((key, id.as_str()?.to_owned())));
            pairs.collect::<Option<_>>().map(Some).ok_or_else(bad)
        }
        Some(_) => Err(bad()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        Request::parse(text.as_bytes(), &Options::default())
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let request = parse(
            r##"{"using":["urn:ietf:params:jmap:core","urn:ietf:params:jmap:mail"],
                "methodCalls":[["method1",{"arg1":"arg1data","arg2":"arg2data"},"c1"],["method3",{},"c3"]]}"##,
        )
        .unwrap();
        assert_eq!(request.method_calls.len(), 2);
        assert_eq!(request.method_calls[0].arguments["arg2"], "arg2data");
        assert_eq!(request.created_ids, None);
    }

    #[test]
    fn each_shape_error_has_its_type() {
        let cases = [
            ("{", "notJSON"),
            ("[]", "notRequest"),
            ("{}", "notRequest"),
            (r#"{"using":[1],"methodCalls":[]}"#, "notRequest"),
            (r#"{"using":[],"methodCalls":[["a",{}]]}"#, "notRequest"),
            (r#"{"using":[],"methodCalls":[["a",[],"c"]]}"#, "notRequest"),
            (r#"{"using":[],"methodCalls":[],"createdIds":{"a":1}}"#, "notRequest"),
            (r#"{"using":["urn:x"],"methodCalls":[]}"#, "unknownCapability"),
        ];
        for (text, kind) in cases {
            let problem = parse(text).unwrap_err().problem();
            assert_eq!(problem["type"], format!("urn:ietf:params:jmap:error:{kind}"), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = Request::parse(&bytes, &Options::default());
        }

        #[test]
        fn broken_requests_are_a_request_or_an_error(at in 0usize..200, byte in proptest::prelude::any::<u8>(), cut in 0usize..200) {
            let text = r##"{"using":["urn:ietf:params:jmap:core"],"methodCalls":[["a",{"#b":{"resultOf":"c"}},"c"]],"createdIds":{"k":"v"}}"##;
            let mut bytes = text.as_bytes().to_vec();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            let _ = Request::parse(&bytes, &Options::default());
        }
    }

    #[test]
    fn limits_are_named() {
        let calls = vec![r#"["Core/echo",{},"c"]"#; 33].join(",");
        let problem = parse(&format!(r#"{{"using":[],"methodCalls":[{calls}]}}"#)).unwrap_err().problem();
        assert_eq!(problem["limit"], "maxCallsInRequest");
        let problem = parse(&" ".repeat((4 << 20) + 1)).unwrap_err().problem();
        assert_eq!(problem["limit"], "maxSizeRequest");
    }
}
