//! What people type, as a query of the index: words that must all be there, `"phrases"`, and prefixes ending in `*`.

use tantivy::Term;
use tantivy::query::{BooleanQuery, EmptyQuery, Occur, PhrasePrefixQuery, PhraseQuery, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption};

use super::schema::Fields;
use super::tokenizer::{Kind, fold, spans, stem};

/// Terms that a prefix after a phrase may stand for.
const MAX_EXPANSIONS: u32 = 2_000;
/// Words and phrases of a query; the rest is left out.
const MAX_CLAUSES: usize = 64;
/// Bytes of a query's field; the rest is left out.
const MAX_TEXT_BYTES: usize = 4_096;

/// The text conditions of `Email/query` (RFC 8621, 4.4.1), all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextQuery {
    /// In any of the fields below or the name of an attachment; each word may be in another field.
    pub text: Option<String>,
    pub subject: Option<String>,
    pub body: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub cc: Option<String>,
    pub bcc: Option<String>,
    pub attachment_name: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Clause<'a> {
    text: &'a str,
    is_phrase: bool,
    is_prefix: bool,
}

/// Splits a query into its words and phrases. A quotation mark that is never closed goes to the end.
fn clauses(text: &str) -> Vec<Clause<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while found.len() < MAX_CLAUSES {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        if let Some(after) = rest.strip_prefix('"') {
            let (phrase, after) = after.split_once('"').unwrap_or((after, ""));
            let (is_prefix, after) = after.strip_prefix('*').map_or((false, after), |after| (true, after));
            found.push(Clause { text: phrase, is_phrase: true, is_prefix });
            rest = after;
        } else {
            let end = rest.find(|char: char| char.is_whitespace() || char == '"').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let stripped = word.strip_suffix('*');
            found.push(Clause { text: stripped.unwrap_or(word), is_phrase: false, is_prefix: stripped.is_some() });
            rest = after;
        }
    }
    found
}

/// One clause in one field; `None` when it has no terms.
fn clause_query(field: Field, clause: &Clause<'_>) -> Option<Box<dyn Query>> {
    let folded = fold(clause.text);
    let mut spans = spans(&folded);
    // The last character of a run is a term only where a run is just that: inside a longer one it is in the pair.
    let is_in_pair = |index: usize, spans: &[super::tokenizer::Span]| {
        index > 0 && spans[index].is_single(&folded) && {
            let before = &spans[index - 1];
            before.kind == Kind::Pair
                && !before.is_single(&folded)
                && before.of(&folded).ends_with(spans[index].of(&folded))
        }
    };
    let kept: Vec<_> = (0..spans.len()).filter(|index| !is_in_pair(*index, &spans)).map(|index| spans[index]).collect();
    spans = kept;
    let last = *spans.last()?;
    let is_prefix = clause.is_prefix || last.is_single(&folded);
    if let ([only], false) = (spans.as_slice(), is_prefix) {
        let word = only.of(&folded);
        let term = if clause.is_phrase || only.kind == Kind::Pair { None } else { stem(word) };
        let term = Term::from_field_text(field, term.as_deref().unwrap_or(word));
        return Some(Box::new(TermQuery::new(term, IndexRecordOption::Basic)));
    }
    let first = spans[0].position;
    let terms =
        spans.iter().map(|span| (span.position - first, Term::from_field_text(field, span.of(&folded)))).collect();
    if is_prefix {
        let mut query = PhrasePrefixQuery::new_with_offset(terms);
        query.set_max_expansions(MAX_EXPANSIONS);
        return Some(Box::new(query));
    }
    Some(Box::new(PhraseQuery::new_with_offset(terms)))
}

/// Adds what `text` asks of any of `fields`.
fn add(all: &mut Vec<(Occur, Box<dyn Query>)>, fields: &[Field], text: &str) {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut has_terms = false;
    for clause in clauses(&text[..end]) {
        let mut any: Vec<_> = fields.iter().filter_map(|field| clause_query(*field, &clause)).collect();
        has_terms |= !any.is_empty();
        match any.len() {
            0 => {}
            1 => all.extend(any.pop().map(|query| (Occur::Must, query))),
            _ => all.push((Occur::Must, Box::new(BooleanQuery::union(any)))),
        }
    }
    if !has_terms {
        // Nothing but punctuation finds nothing.
        all.push((Occur::Must, Box::new(EmptyQuery)));
    }
}

/// The query, bound to the account.
pub(super) fn build(fields: &Fields, account_id: &str, query: &TextQuery) -> BooleanQuery {
    let account = TermQuery::new(Term::from_field_text(fields.account, account_id), IndexRecordOption::Basic);
    let mut all: Vec<(Occur, Box<dyn Query>)> = vec![(Occur::Must, Box::new(account))];
    if let Some(text) = &query.text {
        add(&mut all, &fields.text(), text);
    }
    let conditions = [
        (fields.subject, &query.subject),
        (fields.body, &query.body),
        (fields.from, &query.from),
        (fields.to, &query.to),
        (fields.cc, &query.cc),
        (fields.bcc, &query.bcc),
        (fields.attachments, &query.attachment_name),
    ];
    for (field, text) in conditions {
        if let Some(text) = text {
            add(&mut all, &[field], text);
        }
    }
    BooleanQuery::new(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_phrases_and_prefixes_are_told_apart() {
        let clause = |text, is_phrase, is_prefix| Clause { text, is_phrase, is_prefix };
        assert_eq!(
            clauses(r#" a "b c" d* e"f"#),
            [
                clause("a", false, false),
                clause("b c", true, false),
                clause("d", false, true),
                clause("e", false, false),
                clause("f", true, false)
            ]
        );
        assert_eq!(clauses(r#""b c"*"#), [clause("b c", true, true)]);
        assert_eq!(clauses("  "), []);
    }
}
