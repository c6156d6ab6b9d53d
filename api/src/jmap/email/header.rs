//! Header fields as properties, in the forms of RFC 8621 sections 4.1.2 and 4.1.3.

use std::borrow::Cow;

use mail_parser::{Addr, Address, HeaderValue};
use serde_json::{Value, json};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::error::MethodError;
use crate::mime::fields::Field;
use crate::mime::structure::parse_value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Raw,
    Text,
    Addresses,
    GroupedAddresses,
    MessageIds,
    Date,
    Urls,
}

/// `header:{name}[:as{form}][:all]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderProperty {
    pub name: String,
    pub form: Form,
    pub is_all: bool,
}

/// Fields defined in RFC 5322 or RFC 2369, and the only parsed form each may be asked in.
const DEFINED: [(&str, Option<Form>); 30] = [
    ("subject", Some(Form::Text)),
    ("comments", Some(Form::Text)),
    ("keywords", Some(Form::Text)),
    ("from", Some(Form::Addresses)),
    ("sender", Some(Form::Addresses)),
    ("reply-to", Some(Form::Addresses)),
    ("to", Some(Form::Addresses)),
    ("cc", Some(Form::Addresses)),
    ("bcc", Some(Form::Addresses)),
    ("resent-from", Some(Form::Addresses)),
    ("resent-sender", Some(Form::Addresses)),
    ("resent-reply-to", Some(Form::Addresses)),
    ("resent-to", Some(Form::Addresses)),
    ("resent-cc", Some(Form::Addresses)),
    ("resent-bcc", Some(Form::Addresses)),
    ("message-id", Some(Form::MessageIds)),
    ("in-reply-to", Some(Form::MessageIds)),
    ("references", Some(Form::MessageIds)),
    ("resent-message-id", Some(Form::MessageIds)),
    ("date", Some(Form::Date)),
    ("resent-date", Some(Form::Date)),
    ("list-help", Some(Form::Urls)),
    ("list-unsubscribe", Some(Form::Urls)),
    ("list-subscribe", Some(Form::Urls)),
    ("list-post", Some(Form::Urls)),
    ("list-owner", Some(Form::Urls)),
    ("list-archive", Some(Form::Urls)),
    ("return-path", None),
    ("received", None),
    ("content-transfer-encoding", None),
];

impl HeaderProperty {
    /// `None` when the property is not about a header field.
    ///
    /// # Errors
    /// `invalidArguments` for a form that the field may not be asked in.
    pub fn parse(property: &str) -> Result<Option<Self>, MethodError> {
        let Some(rest) = property.strip_prefix("header:") else { return Ok(None) };
        let bad = |why: &str| MethodError::invalid(format!("'{property}': {why}"));
        let mut parts = rest.split(':');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("this is not a header field name"));
        }
        let suffixes: Vec<&str> = parts.collect();
        let (form, is_all) = match suffixes.as_slice() {
            [] => (Form::Raw, false),
            ["all"] => (Form::Raw, true),
            [form] => (Form::parse(form).ok_or_else(|| bad("this form is not known"))?, false),
            [form, "all"] => (Form::parse(form).ok_or_else(|| bad("this form is not known"))?, true),
            _ => return Err(bad("a form and then 'all' may follow the name")),
        };
        if !form.is_allowed(name) {
            return Err(bad("the field may not be asked for in this form"));
        }
        Ok(Some(Self { name: name.to_owned(), form, is_all }))
    }

    /// The value in these fields: of the last, or of all.
    pub fn value(&self, fields: &[Field<'_>]) -> Value {
        let mut found = fields.iter().filter(|field| field.is(&self.name)).map(|field| self.form.render(field));
        if self.is_all { found.collect() } else { found.next_back().unwrap_or(Value::Null) }
    }
}

impl Form {
    fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "asRaw" => Self::Raw,
            "asText" => Self::Text,
            "asAddresses" => Self::Addresses,
            "asGroupedAddresses" => Self::GroupedAddresses,
            "asMessageIds" => Self::MessageIds,
            "asDate" => Self::Date,
            "asURLs" => Self::Urls,
            _ => return None,
        })
    }

    fn is_allowed(self, name: &str) -> bool {
        let form = if self == Self::GroupedAddresses { Self::Addresses } else { self };
        match DEFINED.iter().find(|(defined, _)| defined.eq_ignore_ascii_case(name)) {
            Some((_, only)) => form == Self::Raw || Some(form) == *only,
            None => true,
        }
    }

    /// A field's value in this form; null when it cannot be parsed so.
    pub fn render(self, field: &Field<'_>) -> Value {
        match self {
            Self::Raw => field.raw().into(),
            Self::Text => text(field.value).into(),
            Self::Addresses => addresses(field.value),
            Self::GroupedAddresses => grouped_addresses(field.value),
            Self::MessageIds => message_ids(field.value),
            Self::Date => date(field.value),
            Self::Urls => urls(field.value),
        }
    }
}

/// In Normalization Form C, as text of header fields is given (sections 4.1.2.2 and 4.1.2.3).
pub(crate) fn nfc(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.nfc().collect()),
    }
}

/// Unfolded, encoded words decoded, control characters dropped, normalised.
pub(crate) fn text(value: &[u8]) -> String {
    let parsed = parse_value(value, |stream| stream.parse_unstructured());
    let text = parsed.as_text().unwrap_or_default();
    if text.contains(char::is_control) {
        nfc(&text.chars().filter(|c| !c.is_control()).collect::<String>()).into_owned()
    } else {
        nfc(text).into_owned()
    }
}

fn address(address: &Addr<'_>) -> Option<Value> {
    let name = address.name.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(nfc);
    let email = address.address.as_deref().unwrap_or_default();
    (name.is_some() || !email.is_empty()).then(|| json!({ "name": name, "email": email }))
}

fn addresses(value: &[u8]) -> Value {
    let parsed = parse_value(value, |stream| stream.parse_address());
    parsed.as_address().into_iter().flat_map(Address::iter).filter_map(address).collect()
}

/// Addresses outside of any group form a group without a name.
fn grouped_addresses(value: &[u8]) -> Value {
    let group = |name: Option<&str>, members: &[Addr<'_>]| json!({ "name": name.map(nfc), "addresses": members.iter().filter_map(address).collect::<Value>() });
    match parse_value(value, |stream| stream.parse_address()) {
        HeaderValue::Address(Address::List(list)) => json!([group(None, &list)]),
        HeaderValue::Address(Address::Group(groups)) => {
            groups.iter().map(|found| group(found.name.as_deref(), &found.addresses)).collect()
        }
        _ => json!([]),
    }
}

pub(crate) fn message_ids(value: &[u8]) -> Value {
    match parse_value(value, |stream| stream.parse_id()) {
        HeaderValue::Text(id) => json!([id]),
        HeaderValue::TextList(ids) => json!(ids),
        _ => Value::Null,
    }
}

fn date(value: &[u8]) -> Value {
    match parse_value(value, |stream| stream.parse_date()) {
        HeaderValue::DateTime(date) if date.is_valid() => date.to_rfc3339().into(),
        _ => Value::Null,
    }
}

/// What stands in angle brackets, outside of comments (RFC 2369 section 2).
fn urls(value: &[u8]) -> Value {
    let text = String::from_utf8_lossy(value);
    let mut urls = Vec::new();
    let mut depth = 0_usize;
    let mut open: Option<String> = None;
    for c in text.chars() {
        match (&mut open, c) {
            (Some(url), '>') => {
                urls.push(std::mem::take(url));
                open = None;
            }
            (Some(url), c) if !c.is_whitespace() => url.push(c),
            (Some(_), _) => {}
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, '<') if depth == 0 => open = Some(String::new()),
            (None, _) => {}
        }
    }
    urls.retain(|url| !url.is_empty());
    if urls.is_empty() { Value::Null } else { json!(urls) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn render(property: &str, values: &[&str]) -> Value {
        let header = HeaderProperty::parse(property).unwrap().unwrap();
        let fields: Vec<_> = values.iter().map(|value| Field { name: &header.name, value: value.as_bytes() }).collect();
        header.value(&fields)
    }

    #[test]
    fn raw_and_text() {
        assert_eq!(render("header:subject", &[" a\r\n b"]), json!(" a\r\n b"));
        assert_eq!(render("header:Subject:asText", &[" =?EUC-KR?B?sKGzqg==?=\r\n =?utf-8?Q?_x?="]), json!("가나 x"));
        assert_eq!(render("header:X-A", &[]), Value::Null);
        assert_eq!(render("header:X-A:all", &[]), json!([]));
        assert_eq!(render("header:X-A:asText:all", &[" 1", " 2"]), json!(["1", "2"]));
        assert_eq!(render("header:X-A:asText", &[" 1", " 2"]), json!("2"));
    }

    /// The same word in its composed and its decomposed form.
    const COMPOSED: &str = "caf\u{e9} \u{ac00}";
    const DECOMPOSED: &str = "cafe\u{301} \u{1100}\u{1161}";

    #[test]
    fn text_and_names_are_normalised_and_raw_is_as_it_came() {
        let encoded = "=?utf-8?B?Y2FmZcyBIOGEgOGFoQ==?=";
        for value in [DECOMPOSED, encoded] {
            assert_eq!(render("header:Subject:asText", &[&format!(" {value}")]), json!(COMPOSED), "{value}");
            let list = format!(" {value} <a@b>");
            let address = json!({"name": COMPOSED, "email": "a@b"});
            assert_eq!(render("header:To:asAddresses", &[&list]), json!([address]), "{value}");
            let grouped = json!([{"name": COMPOSED, "addresses": [address]}]);
            assert_eq!(render("header:To:asGroupedAddresses", &[&format!("{value}:{list};")]), grouped, "{value}");
        }
        assert_eq!(render("header:Subject", &[DECOMPOSED]), json!(DECOMPOSED));
        // A control character between a letter and its mark must not keep them apart.
        assert_eq!(render("header:Subject:asText", &[" =?utf-8?Q?e=01=CC=81?="]), json!("\u{e9}"));
    }

    /// The example of section 4.1.2.3; the two spaces in the quoted string are white space to remove.
    const LIST: &str = "\"  James Smythe\" <james@example.com>, Friends:\r\n jane@example.com, \
        =?UTF-8?Q?John_Sm=C3=AEth?=\r\n <john@example.com>;";

    #[test]
    fn addresses_and_groups_as_in_the_rfc() {
        let [james, jane, john] = [
            json!({"name": "James Smythe", "email": "james@example.com"}),
            json!({"name": null, "email": "jane@example.com"}),
            json!({"name": "John Smîth", "email": "john@example.com"}),
        ];
        assert_eq!(render("header:To:asAddresses", &[LIST]), json!([james, jane, john]));
        assert_eq!(
            render("header:To:asGroupedAddresses", &[LIST]),
            json!([{"name": null, "addresses": [james]}, {"name": "Friends", "addresses": [jane, john]}])
        );
    }

    #[test]
    fn ids_dates_and_urls() {
        assert_eq!(render("header:References:asMessageIds", &[" <a@b>\r\n <c@d>"]), json!(["a@b", "c@d"]));
        assert_eq!(render("header:Message-ID:asMessageIds", &[" <a@b>"]), json!(["a@b"]));
        assert_eq!(
            render("header:Date:asDate", &[" Mon, 23 Nov 2026 10:00:00 +0900"]),
            json!("2026-11-23T10:00:00+09:00")
        );
        assert_eq!(render("header:Date:asDate", &[" yesterday"]), Value::Null);
        assert_eq!(
            render("header:List-Unsubscribe:asURLs", &[" (a <b>) <mailto:x@y>,\r\n <https://z/\r\n w>"]),
            json!(["mailto:x@y", "https://z/w"])
        );
        assert_eq!(render("header:List-Post:asURLs", &[" NO"]), Value::Null);
    }

    #[test]
    fn forms_that_a_field_does_not_have_are_refused() {
        for bad in [
            "header:From:asDate",
            "header:Subject:asAddresses",
            "header:Received:asText",
            "header:",
            "header:a b",
            "header:X:all:asText",
            "header:X:asNothing",
        ] {
            assert!(HeaderProperty::parse(bad).is_err(), "{bad}");
        }
        assert!(HeaderProperty::parse("header:X-Any:asDate:all").unwrap().is_some());
        assert_eq!(HeaderProperty::parse("subject").unwrap(), None);
    }
}
