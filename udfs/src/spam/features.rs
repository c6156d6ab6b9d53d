//! What a message is made of, as the classifier sees it: a set of hashed features.

use std::collections::HashMap;

use mail_parser::{HeaderName, Message, MimeHeaders, PartType};

use super::model::PLACES;
use crate::message::{self, for_each_leaf, text};

/// Text that is looked at: what comes later in a long mail adds little.
const MAX_TEXT_BYTES: usize = 12 * 1024;
const MAX_FEATURES: usize = 3000;
const MAX_WORD_CHARS: usize = 20;
const MAX_HOSTS: usize = 50;

/// The places of a message's features, each once, in the order found.
pub(super) struct Features {
    places: Vec<u32>,
}

impl Features {
    pub(super) fn of(raw: &[u8]) -> Self {
        let mut places = Places { found: Vec::with_capacity(512), seen: vec![0; PLACES / 64] };
        read(raw, &mut places);
        Self { places: places.found }
    }

    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    /// Names of the features at `wanted` places: the first that hashes there.
    pub(super) fn names(&self, raw: &[u8], wanted: &[(f32, u32)]) -> Vec<String> {
        let mut names = Names(wanted.iter().map(|(_, place)| (*place, String::new())).collect());
        read(raw, &mut names);
        wanted.iter().map(|(_, place)| names.0.get(place).cloned().unwrap_or_default()).collect()
    }
}

/// Takes features as they are found.
trait Sink {
    fn take(&mut self, kind: &str, first: &str, second: &str);
    fn is_full(&self) -> bool;
}

struct Places {
    found: Vec<u32>,
    seen: Vec<u64>,
}

impl Sink for Places {
    fn take(&mut self, kind: &str, first: &str, second: &str) {
        let place = place_of(kind, first, second);
        let (word, bit) = (place as usize / 64, place % 64);
        if self.seen[word] >> bit & 1 == 0 {
            self.seen[word] |= 1 << bit;
            self.found.push(place);
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= MAX_FEATURES
    }
}

struct Names(HashMap<u32, String>);

impl Sink for Names {
    fn take(&mut self, kind: &str, first: &str, second: &str) {
        if let Some(name) = self.0.get_mut(&place_of(kind, first, second))
            && name.is_empty()
        {
            let gap = if second.is_empty() { "" } else { " " };
            *name = format!("{kind}:{first}{gap}{second}");
        }
    }

    fn is_full(&self) -> bool {
        false
    }
}

/// FNV-1a over kind and words, folded to a place.
fn place_of(kind: &str, first: &str, second: &str) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in [kind, first, second] {
        for byte in part.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ 0xff).wrapping_mul(0x0100_0000_01b3);
    }
    let folded = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (folded >> 40) as u32 % PLACES as u32
}

fn read(raw: &[u8], sink: &mut dyn Sink) {
    let prepared = message::prepare(raw);
    let opened = prepared.open();
    let Some(message) = &opened.message else {
        sink.take("shape", "no header", "");
        return;
    };
    header(message, sink);
    structure(message, sink);
    words("subject", message.subject().unwrap_or_default(), sink);
    words("body", &text::body_text(message, MAX_TEXT_BYTES, false), sink);
    hosts(message, sink);
}

/// What the header says of how the mail was made; nothing that names a recipient or a server on the way.
fn header(message: &Message<'_>, sink: &mut dyn Sink) {
    for field in ["List-Id", "List-Unsubscribe", "In-Reply-To", "References", "Precedence", "X-Mailer", "User-Agent"] {
        let has = message.header(field).is_some();
        sink.take("header", field, if has { "yes" } else { "no" });
    }
    let has = |name: HeaderName<'static>| message.header(name).is_some();
    let shape = |is_so: bool, what: &'static str| is_so.then_some(what);
    let from = message.from().and_then(|from| from.first());
    let from_address = from.and_then(|from| from.address()).unwrap_or_default();
    let domain = from_address.rsplit_once('@').map_or("", |(_, domain)| domain);
    let subject = message.subject().unwrap_or_default();
    let letters = subject.chars().filter(|letter| letter.is_alphabetic()).count();
    let capitals = subject.chars().filter(|letter| letter.is_uppercase()).count();
    let found = [
        shape(!has(HeaderName::MessageId), "no message id"),
        shape(!has(HeaderName::Date), "no date"),
        shape(!has(HeaderName::To), "no to"),
        shape(!has(HeaderName::MimeVersion), "no mime version"),
        shape(from.is_none_or(|from| from.name().is_none()), "from without name"),
        shape(domain.is_empty(), "from without domain"),
        shape(from_address.bytes().filter(u8::is_ascii_digit).count() >= 3, "from with digits"),
        shape(letters >= 8 && capitals * 10 >= letters * 7, "subject in capitals"),
        shape(subject.contains('!'), "subject exclaims"),
        shape(subject.contains('$') || subject.contains('%'), "subject of money"),
        shape(subject.contains("   "), "subject with gaps"),
        shape(subject.is_empty(), "no subject"),
        shape(subject.len() > 3 && subject.as_bytes()[..3].eq_ignore_ascii_case(b"re:"), "reply"),
        shape(has(HeaderName::Bcc), "bcc"),
    ];
    found.into_iter().flatten().for_each(|what| sink.take("shape", what, ""));
    if let Some((_, top)) = domain.rsplit_once('.') {
        sink.take("from-top", &top.to_ascii_lowercase(), "");
    }
}

fn structure(message: &Message<'_>, sink: &mut dyn Sink) {
    let root = message.content_type().map_or("none", |kind| kind.subtype().unwrap_or("none"));
    sink.take("root", &root.to_ascii_lowercase(), "");
    let mut html_bytes = 0;
    for_each_leaf(message, &mut |_, part| {
        if let PartType::Html(html) = &part.body {
            html_bytes += html.len();
            markup(text::cut(html, MAX_TEXT_BYTES), sink);
        }
        if let Some(charset) = part.content_type().and_then(|kind| kind.attribute("charset")) {
            sink.take("charset", &charset.to_ascii_lowercase(), "");
        }
        if let Some((_, ending)) = part.attachment_name().and_then(|name| name.rsplit_once('.')) {
            sink.take("attached", &ending.to_ascii_lowercase(), "");
        }
    });
    if html_bytes > 0 && message.parts.len() == 1 {
        sink.take("shape", "html alone", "");
    }
}

/// Marks of mail that is drawn rather than written.
fn markup(html: &str, sink: &mut dyn Sink) {
    let lower = html.to_ascii_lowercase();
    for mark in ["<form", "<img", "<font", "<table", "<script", "<iframe", "<center", "bgcolor", "display:none", "<a "]
    {
        if lower.contains(mark) {
            sink.take("markup", mark, "");
        }
    }
}

/// Words and pairs of words; Chinese, Japanese and Korean text as overlapping pairs of characters.
fn words(kind: &str, text: &str, sink: &mut dyn Sink) {
    let mut before = String::new();
    let mut word = String::new();
    let mut previous: Option<char> = None;
    let mut buffer = [0; 4];
    for character in text.chars().chain([' ']) {
        if sink.is_full() {
            return;
        }
        if is_cjk(character) {
            if let Some(previous) = previous {
                let mut first = [0; 4];
                sink.take(kind, previous.encode_utf8(&mut first), character.encode_utf8(&mut buffer));
            }
            previous = Some(character);
            continue;
        }
        previous = None;
        if character.is_alphanumeric() || matches!(character, '$' | '\'') {
            word.extend(character.to_lowercase());
        } else if !word.is_empty() {
            finish_word(kind, &mut before, &mut word, sink);
        } else if character == '!' {
            sink.take(kind, "!", "");
        }
    }
}

fn finish_word(kind: &str, before: &mut String, word: &mut String, sink: &mut dyn Sink) {
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number says something by its length only.
        *word = format!("#{}", word.len().min(9));
    }
    if word.chars().nth(MAX_WORD_CHARS).is_some() {
        *word = "long word".to_owned();
    }
    sink.take(kind, word, "");
    if !before.is_empty() {
        sink.take(kind, before, word);
    }
    std::mem::swap(before, word);
    word.clear();
}

fn is_cjk(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}')
}

/// Hosts of links, and the oddities of links that hide where they lead.
fn hosts(message: &Message<'_>, sink: &mut dyn Sink) {
    let mut count = 0;
    for_each_leaf(message, &mut |_, part| {
        let (PartType::Html(text) | PartType::Text(text)) = &part.body else { return };
        let mut rest = text::cut(text, MAX_TEXT_BYTES);
        while let Some(position) = rest.find("://") {
            rest = &rest[position + 3..];
            let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "-._@:%".contains(letter)));
            host(&rest[..end.unwrap_or(rest.len())], sink);
            count += 1;
            if count >= MAX_HOSTS {
                return;
            }
        }
    });
}

fn host(authority: &str, sink: &mut dyn Sink) {
    if authority.contains('@') {
        sink.take("link", "with user", "");
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    if !port.is_empty() && port != "80" && port != "443" {
        sink.take("link", "with port", "");
    }
    if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        sink.take("link", "to a number", "");
        return;
    }
    let host = host.to_ascii_lowercase();
    let mut labels = host.rsplitn(3, '.');
    if let (Some(top), Some(name)) = (labels.next(), labels.next()) {
        sink.take("host", name, top);
    }
}
