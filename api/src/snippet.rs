//! Marks searched words in text, as HTML.

/// Characters of a snippet; RFC 8621 section 5 allows 255 octets, markup aside.
const MAX_CHARS: usize = 80;
/// Characters shown before the first match.
const LEAD_CHARS: usize = 24;
const MAX_TERMS: usize = 32;

/// What is searched for, in lower case.
#[derive(Clone, Debug, Default)]
pub struct Terms(Vec<String>);

impl Terms {
    /// Words and quoted phrases of search texts.
    pub fn of<'a>(queries: impl Iterator<Item = &'a String>) -> Self {
        let mut terms = Vec::new();
        for query in queries {
            for (index, piece) in query.split('"').enumerate() {
                if index % 2 == 1 {
                    terms.push(piece.trim().to_lowercase());
                } else {
                    let words = piece.split_whitespace().map(|word| word.trim_end_matches('*').to_lowercase());
                    terms.extend(words);
                }
            }
        }
        terms.retain(|term| !term.is_empty());
        terms.truncate(MAX_TERMS);
        Self(terms)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole text with matches in `<mark>`; `None` without any.
    pub fn mark(&self, text: &str) -> Option<String> {
        let text = Folded::of(text);
        let matches = self.matches(&text);
        (!matches.is_empty()).then(|| text.render(0, text.chars.len(), &matches))
    }

    /// Ranges of characters, in order, not overlapping.
    fn matches(&self, text: &Folded) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < text.chars.len() {
            let longest = self.0.iter().filter_map(|term| text.matches_at(at, term)).max();
            match longest {
                Some(end) => {
                    found.push((at, end));
                    at = end;
                }
                None => at += 1,
            }
        }
        found
    }
}

/// The part of a text around its first match, marked; `None` without any.
pub fn snippet(text: &str, terms: &Terms) -> Option<String> {
    let text = Folded::of(text);
    let matches = terms.matches(&text);
    let (first, _) = matches.first()?;
    let start = first.saturating_sub(LEAD_CHARS);
    let end = (start + MAX_CHARS).min(text.chars.len());
    Some(text.render(start, end, &matches))
}

/// Characters with their lower case forms, and white space as single spaces.
struct Folded {
    chars: Vec<(char, char)>,
}

impl Folded {
    fn of(text: &str) -> Self {
        let mut chars: Vec<(char, char)> = Vec::with_capacity(text.len());
        for c in text.chars() {
            if c.is_whitespace() {
                if chars.last().is_some_and(|(last, _)| *last != ' ') {
                    chars.push((' ', ' '));
                }
            } else {
                chars.push((c, c.to_lowercase().next().unwrap_or(c)));
            }
        }
        Self { chars }
    }

    /// The end of `term` when it stands at `at`: at the start of a word, or anywhere in writing without spaces.
    fn matches_at(&self, at: usize, term: &str) -> Option<usize> {
        let is_inside_word = at > 0
            && self.chars[at - 1].0.is_alphanumeric()
            && self.chars[at].0.is_ascii_alphanumeric()
            && self.chars[at - 1].0.is_ascii_alphanumeric();
        if is_inside_word {
            return None;
        }
        let mut end = at;
        for wanted in term.chars() {
            if self.chars.get(end)?.1 != wanted {
                return None;
            }
            end += 1;
        }
        Some(end)
    }

    fn render(&self, start: usize, end: usize, matches: &[(usize, usize)]) -> String {
        let mut html = String::new();
        for (index, (c, _)) in self.chars.iter().enumerate().take(end).skip(start) {
            if matches.iter().any(|(from, _)| *from == index) {
                html.push_str("<mark>");
            }
            match c {
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '&' => html.push_str("&amp;"),
                c => html.push(*c),
            }
            let is_end = matches
                .iter()
                .any(|(from, to)| *from >= start && (*to == index + 1 || *to > end && index + 1 == end && *from < end));
            if is_end {
                html.push_str("</mark>");
            }
        }
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(query: &str) -> Terms {
        Terms::of([query.to_owned()].iter())
    }

    #[test]
    fn words_and_phrases_are_marked_and_markup_is_escaped() {
        assert_eq!(
            terms("foo").mark("a <b> Foo & food").as_deref(),
            Some("a &lt;b&gt; <mark>Foo</mark> &amp; <mark>foo</mark>d")
        );
        assert_eq!(terms("\"two words\" x*").mark("Two  words").as_deref(), Some("<mark>Two words</mark>"));
        assert_eq!(terms("oo").mark("foo"), None);
        assert_eq!(terms("회의").mark("오늘회의록").as_deref(), Some("오늘<mark>회의</mark>록"));
        assert_eq!(terms("").mark("foo"), None);
    }

    #[test]
    fn a_snippet_begins_a_little_before_the_first_match() {
        let text = format!("{}needle{}", "x ".repeat(100), " y".repeat(100));
        let found = snippet(&text, &terms("needle")).unwrap_or_default();
        assert!(found.contains("<mark>needle</mark>") && found.len() < MAX_CHARS + 20, "{found}");
        let cut = snippet("a ".repeat(12).as_str(), &terms("a")).unwrap_or_default();
        assert_eq!(cut.matches("<mark>").count(), cut.matches("</mark>").count());
    }
}
