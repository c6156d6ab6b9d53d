//! Text to terms: folded words with their English stems, and overlapping pairs of Chinese, Japanese and Korean
//! characters, which are written without spaces or with endings attached.
//!
//! A run of such characters ends with its last one as a term of its own, so that a single character is found by prefix
//! wherever it stands.

use std::cell::RefCell;
use std::collections::HashMap;

use frostem::{Algorithm, Stemmer};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{decompose_canonical, is_combining_mark};

/// The name in the index's schema. A change of terms needs a new name, so that an old index is made again.
pub(super) const NAME: &str = "mail1";

/// Longer words are cut: nobody types them, and lines of encoded data would swell the index.
const MAX_WORD_BYTES: usize = 64;
/// Shorter words are their own stem.
const MIN_STEM_BYTES: usize = 4;

/// Stems that a thread remembers; a few MB at most.
const MAX_STEMS: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// Two characters of a run, or its last one.
    Pair,
}

/// A term's place in the folded text, and its position among the terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: usize,
    end: usize,
    pub(super) position: usize,
    pub(super) kind: Kind,
}

impl Span {
    pub(super) fn of<'a>(&self, folded: &'a str) -> &'a str {
        &folded[self.start..self.end]
    }

    /// Whether the pair is just one character.
    pub(super) fn is_single(&self, folded: &str) -> bool {
        self.kind == Kind::Pair && self.of(folded).chars().nth(1).is_none()
    }
}

/// Lower case, without diacritics, in compatibility form (full-width Latin, half-width Kana, ligatures and the like).
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    for char in text.nfkc().flat_map(char::to_lowercase) {
        match char {
            _ if char.is_ascii() => folded.push(char),
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' => folded.push('d'),
            'ı' => folded.push('i'),
            _ if is_cjk(char) => folded.push(char),
            _ => decompose_canonical(char, |part| {
                if !is_combining_mark(part) {
                    folded.push(part);
                }
            }),
        }
    }
    folded
}

fn is_cjk(char: char) -> bool {
    matches!(char as u32,
        0x1100..=0x11FF | 0x3005..=0x3007 | 0x3040..=0x30FF | 0x3130..=0x318F | 0x31F0..=0x31FF | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF | 0xA960..=0xA97F | 0xAC00..=0xD7FF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// The terms of folded text, stems left out.
pub(super) fn spans(folded: &str) -> Vec<Span> {
    let mut spans = Vec::with_capacity(folded.len() / 6);
    let mut chars = folded.char_indices().peekable();
    let mut position = 0;
    while let Some((start, char)) = chars.next() {
        if is_cjk(char) {
            let mut last = start;
            let mut end = start + char.len_utf8();
            while let Some((at, next)) = chars.next_if(|(_, next)| is_cjk(*next)) {
                let pair_end = at + next.len_utf8();
                spans.push(Span { start: last, end: pair_end, position, kind: Kind::Pair });
                (last, end, position) = (at, pair_end, position + 1);
            }
            spans.push(Span { start: last, end, position, kind: Kind::Pair });
            position += 1;
        } else if char.is_alphanumeric() {
            let mut end = start + char.len_utf8();
            while let Some((at, next)) = chars.next_if(|(_, next)| next.is_alphanumeric() && !is_cjk(*next)) {
                if at + next.len_utf8() - start <= MAX_WORD_BYTES {
                    end = at + next.len_utf8();
                }
            }
            spans.push(Span { start, end, position, kind: Kind::Word });
            position += 1;
        }
    }
    spans
}

/// The English stem of a folded word; `None` when it is the word itself.
pub(super) fn stem(word: &str) -> Option<String> {
    if word.len() < MIN_STEM_BYTES || !word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    STEMS.with_borrow_mut(|stems| {
        if let Some(known) = stems.get(word) {
            return known.as_deref().map(str::to_owned);
        }
        if stems.len() >= MAX_STEMS {
            stems.clear();
        }
        let stem = Stemmer::new(Algorithm::English).stem(word);
        let stem = (stem != word).then(|| stem.into_owned());
        stems.insert(word.into(), stem.as_deref().map(Into::into));
        stem
    })
}

thread_local! {
    /// Words of mail recur, and looking a stem up costs a tenth of finding it.
    static STEMS: RefCell<HashMap<Box<str>, Option<Box<str>>>> = RefCell::default();
}

/// For the index: every word as it is, and its stem at the same position.
#[derive(Clone, Default)]
pub(super) struct MailTokenizer;

pub(super) struct MailTokens {
    folded: String,
    spans: std::vec::IntoIter<Span>,
    pending_stem: Option<String>,
    token: Token,
}

impl Tokenizer for MailTokenizer {
    type TokenStream<'a> = MailTokens;

    fn token_stream(&mut self, text: &str) -> MailTokens {
        let folded = fold(text);
        let spans = spans(&folded).into_iter();
        MailTokens { folded, spans, pending_stem: None, token: Token::default() }
    }
}

impl TokenStream for MailTokens {
    fn advance(&mut self) -> bool {
        if let Some(stem) = self.pending_stem.take() {
            self.token.text = stem;
            return true;
        }
        let Some(span) = self.spans.next() else { return false };
        let text = span.of(&self.folded);
        self.token.text.clear();
        self.token.text.push_str(text);
        self.token.position = span.position;
        (self.token.offset_from, self.token.offset_to) = (span.start, span.end);
        if span.kind == Kind::Word {
            self.pending_stem = stem(text);
        }
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<(usize, String)> {
        let mut tokens = MailTokenizer.token_stream(text);
        let mut terms = Vec::new();
        while tokens.advance() {
            terms.push((tokens.token.position, tokens.token.text.clone()));
        }
        terms
    }

    fn wanted(terms: &[(usize, &str)]) -> Vec<(usize, String)> {
        terms.iter().map(|(position, term)| (*position, (*term).to_owned())).collect()
    }

    #[test]
    fn words_are_folded_and_stemmed() {
        assert_eq!(terms("Café ＲＵＮＮＩＮＧ, x"), wanted(&[(0, "cafe"), (1, "running"), (1, "run"), (2, "x")]));
        assert_eq!(terms("Straße"), wanted(&[(0, "strasse"), (0, "strass")]));
        assert_eq!(terms("Ёлка"), wanted(&[(0, "елка")]));
    }

    #[test]
    fn runs_of_cjk_become_pairs_and_a_last_one() {
        assert_eq!(terms("서울시 office"), wanted(&[(0, "서울"), (1, "울시"), (2, "시"), (3, "office"), (3, "offic")]));
        assert_eq!(terms("会议v2"), wanted(&[(0, "会议"), (1, "议"), (2, "v2")]));
        // Half-width Kana with its mark is one full-width character.
        assert_eq!(terms("ｶﾞｽ"), wanted(&[(0, "ガス"), (1, "ス")]));
    }

    #[test]
    fn any_text_gives_terms_without_a_panic() {
        proptest::proptest!(|(text in "\\PC{0,60}")| {
            let folded = fold(&text);
            for span in spans(&folded) {
                proptest::prop_assert!(!span.of(&folded).is_empty());
            }
        });
    }
}
