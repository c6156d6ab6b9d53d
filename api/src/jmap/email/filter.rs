//! The filter of `Email/query` (RFC 8620 section 5.5, RFC 8621 section 4.4.1), parsed.

use chrono::DateTime;
use millrace_query::mail::TextQuery;
use serde::Deserialize;
use serde_json::Value;

use crate::error::MethodError;

/// Conditions in one filter.
const MAX_CONDITIONS: usize = 200;
/// Searches of the text index in one filter.
const MAX_TEXT_QUERIES: usize = 16;

#[derive(Clone, Debug)]
pub(crate) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    /// None of them.
    Not(Vec<Filter>),
    Test(Test),
}

/// One condition.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    InMailbox(String),
    InMailboxOtherThan(Vec<String>),
    ReceivedBefore(i64),
    ReceivedFrom(i64),
    SizeFrom(i64),
    SizeBelow(i64),
    HasKeyword(String),
    NotKeyword(String),
    AllInThreadHaveKeyword(String),
    SomeInThreadHaveKeyword(String),
    NoneInThreadHaveKeyword(String),
    HasAttachment(bool),
    /// Index into [`Filters::texts`].
    Text(usize),
    Header {
        name: String,
        text: Option<String>,
    },
}

/// A filter and the text searches in it.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    pub filter: Filter,
    pub texts: Vec<TextQuery>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    in_mailbox: Option<String>,
    in_mailbox_other_than: Option<Vec<String>>,
    before: Option<String>,
    after: Option<String>,
    min_size: Option<i64>,
    max_size: Option<i64>,
    all_in_thread_have_keyword: Option<String>,
    some_in_thread_have_keyword: Option<String>,
    none_in_thread_have_keyword: Option<String>,
    has_keyword: Option<String>,
    not_keyword: Option<String>,
    has_attachment: Option<bool>,
    text: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cc: Option<String>,
    bcc: Option<String>,
    subject: Option<String>,
    body: Option<String>,
    header: Option<Vec<String>>,
}

impl Filters {
    /// # Errors
    /// `unsupportedFilter` for what we do not know or would be too much, `invalidArguments` for what is no filter.
    pub(crate) fn parse(filter: Option<&Value>) -> Result<Self, MethodError> {
        let mut reader = Reader { conditions: 0, texts: Vec::new() };
        let filter = match filter {
            None | Some(Value::Null) => Filter::And(Vec::new()),
            Some(value) => reader.filter(value)?,
        };
        Ok(Self { filter, texts: reader.texts })
    }
}

impl Filter {
    /// Whether any condition satisfies `test`.
    pub(crate) fn any(&self, test: &impl Fn(&Test) -> bool) -> bool {
        match self {
            Self::And(filters) | Self::Or(filters) | Self::Not(filters) => {
                filters.iter().any(|filter| filter.any(test))
            }
            Self::Test(own) => test(own),
        }
    }
}

struct Reader {
    conditions: usize,
    texts: Vec<TextQuery>,
}

impl Reader {
    fn filter(&mut self, value: &Value) -> Result<Filter, MethodError> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(MethodError::UnsupportedFilter(format!("a filter has at most {MAX_CONDITIONS} conditions")));
        }
        let Some(object) = value.as_object() else { return Err(MethodError::invalid("a filter is not an object")) };
        let Some(operator) = object.get("operator") else { return self.condition(value) };
        let Some(conditions) = object.get("conditions").and_then(Value::as_array) else {
            return Err(MethodError::invalid("an operator without its array of conditions"));
        };
        let conditions = conditions.iter().map(|condition| self.filter(condition)).collect::<Result<_, _>>()?;
        match operator.as_str() {
            Some("AND") => Ok(Filter::And(conditions)),
            Some("OR") => Ok(Filter::Or(conditions)),
            Some("NOT") => Ok(Filter::Not(conditions)),
            _ => Err(MethodError::invalid("the operators are AND, OR and NOT")),
        }
    }

    fn condition(&mut self, value: &Value) -> Result<Filter, MethodError> {
        let parsed: Condition = serde_json::from_value(value.clone()).map_err(|error| {
            let why = error.to_string();
            if why.contains("unknown field") { MethodError::UnsupportedFilter(why) } else { MethodError::invalid(why) }
        })?;
        let text = text_query(&parsed);
        let mut tests: Vec<Test> = [
            parsed.in_mailbox.map(Test::InMailbox),
            parsed.in_mailbox_other_than.map(Test::InMailboxOtherThan),
            parsed.before.map(|date| utc_date(&date)).transpose()?.map(Test::ReceivedBefore),
            parsed.after.map(|date| utc_date(&date)).transpose()?.map(Test::ReceivedFrom),
            parsed.min_size.map(Test::SizeFrom),
            parsed.max_size.map(Test::SizeBelow),
            parsed.has_keyword.map(lower).map(Test::HasKeyword),
            parsed.not_keyword.map(lower).map(Test::NotKeyword),
            parsed.all_in_thread_have_keyword.map(lower).map(Test::AllInThreadHaveKeyword),
            parsed.some_in_thread_have_keyword.map(lower).map(Test::SomeInThreadHaveKeyword),
            parsed.none_in_thread_have_keyword.map(lower).map(Test::NoneInThreadHaveKeyword),
            parsed.has_attachment.map(Test::HasAttachment),
            parsed.header.map(header).transpose()?,
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some(text) = text {
            if self.texts.len() == MAX_TEXT_QUERIES {
                let why = format!("a filter searches text in at most {MAX_TEXT_QUERIES} conditions");
                return Err(MethodError::UnsupportedFilter(why));
            }
            tests.push(Test::Text(self.texts.len()));
            self.texts.push(text);
        }
        Ok(Filter::And(tests.into_iter().map(Filter::Test).collect()))
    }
}

/// The text searches of one condition, which all must match. Blank text asks for nothing.
fn text_query(condition: &Condition) -> Option<TextQuery> {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let query = TextQuery {
        text: said(&condition.text),
        from: said(&condition.from),
        to: said(&condition.to),
        cc: said(&condition.cc),
        bcc: said(&condition.bcc),
        subject: said(&condition.subject),
        body: said(&condition.body),
        ..TextQuery::default()
    };
    let fields = [&query.text, &query.from, &query.to, &query.cc, &query.bcc, &query.subject, &query.body];
    fields.iter().any(|field| field.is_some()).then_some(query)
}

/// Keywords are compared in lower case (RFC 8621 section 4.1.1).
fn lower(keyword: String) -> String {
    keyword.to_ascii_lowercase()
}

fn header(mut items: Vec<String>) -> Result<Test, MethodError> {
    if items.is_empty() || items.len() > 2 {
        return Err(MethodError::invalid("'header' is a name and, if it matters, a text"));
    }
    let text = (items.len() == 2).then(|| items.swap_remove(1));
    Ok(Test::Header { name: items.swap_remove(0), text })
}

/// A UTCDate (RFC 8620 section 1.4) in microseconds since 1970.
fn utc_date(text: &str) -> Result<i64, MethodError> {
    let bad = || MethodError::invalid(format!("'{text}' is not a UTC date like 2026-11-23T10:00:00Z"));
    let date = text.ends_with('Z').then(|| DateTime::parse_from_rfc3339(text).ok()).flatten().ok_or_else(bad)?;
    Ok(date.timestamp_micros())
}
