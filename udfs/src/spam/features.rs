//! What a message is made of, as the classifier sees it: a set of hashed features.

use mail_parser::{HeaderName, Message, MimeHeaders, PartType};

use super::model::PLACES;
use crate::message::{self, for_each_leaf, text};

/// Text that is looked at: what comes later in a long mail adds little.
const MAX_TEXT_BYTES: usize = 12 * 1024;
const MAX_FEATURES: usize = 3000;
const MAX_WORD_CHARS: usize = 20;
const MAX_HOSTS: usize = 50;

/// The features of a message, each place once, in the order found.
pub(super) struct Features {
    places: Vec<u32>,
    /// Bit by place: whether it is among them.
    seen: Vec<u64>,
    /// Their names, one after the other, and where each ends.
    names: String,
    name_ends: Vec<usize>,
}

impl Features {
    pub(super) fn of(raw: &[u8]) -> Self {
        let mut features = Self {
            places: Vec::with_capacity(512),
            seen: vec![0; PLACES / 64],
            names: String::with_capacity(8 * 1024),
            name_ends: Vec::with_capacity(512),
        };
        read(raw, &mut features);
        features
    }

    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    /// The name of the feature found as number `index`: of those that hash to its place, the first.
    pub(super) fn name(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.name_ends[index - 1] };
        &self.names[start..self.name_ends[index]]
    }

    fn take(&mut self, kind: &str, first: &str, second: &str) {
        self.take_at(Hash::of(kind).part(first).part(second), kind, first, second);
    }

    fn take_at(&mut self, hash: Hash, kind: &str, first: &str, second: &str) {
        let place = hash.place();
        let (word, bit) = (place as usize / 64, place % 64);
        if self.seen[word] >> bit & 1 == 1 {
            return;
        }
        self.seen[word] |= 1 << bit;
        self.places.push(place);
        for part in [kind, ":", first, if second.is_empty() { "" } else { " " }, second] {
            self.names.push_str(part);
        }
        self.name_ends.push(self.names.len());
    }

    fn is_full(&self) -> bool {
        self.places.len() >= MAX_FEATURES
    }
}

/// FNV-1a over parts, so that features that begin alike share the work.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    fn of(kind: &str) -> Self {
        Self(0xcbf2_9ce4_8422_2325).part(kind)
    }

    fn part(self, part: &str) -> Self {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(step(part.bytes().fold(self.0, step), 0xff))
    }

    fn place(self) -> u32 {
        let folded = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (folded >> 40) as u32 % PLACES as u32
    }
}

fn read(raw: &[u8], features: &mut Features) {
    let prepared = message::prepare(raw);
    let opened = prepared.open();
    let Some(message) = &opened.message else {
        features.take("shape", "no header", "");
        return;
    };
    header(message, features);
    structure(message, features);
    words("subject", message.subject().unwrap_or_default(), features);
    words("body", &text::body_text(message, MAX_TEXT_BYTES, false), features);
    hosts(message, features);
}

/// What the header says of how the mail was made; nothing that names a recipient or a server on the way.
fn header(message: &Message<'_>, features: &mut Features) {
    for field in ["List-Id", "List-Unsubscribe", "In-Reply-To", "References", "Precedence", "X-Mailer", "User-Agent"] {
        let has = message.header(field).is_some();
        features.take("header", field, if has { "yes" } else { "no" });
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
    found.into_iter().flatten().for_each(|what| features.take("shape", what, ""));
    if let Some((_, top)) = domain.rsplit_once('.') {
        features.take("from-top", &top.to_ascii_lowercase(), "");
    }
}

fn structure(message: &Message<'_>, features: &mut Features) {
    let root = message.content_type().map_or("none", |kind| kind.subtype().unwrap_or("none"));
    features.take("root", &root.to_ascii_lowercase(), "");
    let mut html_bytes = 0;
    for_each_leaf(message, &mut |_, part| {
        if let PartType::Html(html) = &part.body {
            html_bytes += html.len();
            markup(text::cut(html, MAX_TEXT_BYTES), features);
        }
        if let Some(charset) = part.content_type().and_then(|kind| kind.attribute("charset")) {
            features.take("charset", &charset.to_ascii_lowercase(), "");
        }
        if let Some((_, ending)) = part.attachment_name().and_then(|name| name.rsplit_once('.')) {
            features.take("attached", &ending.to_ascii_lowercase(), "");
        }
    });
    if html_bytes > 0 && message.parts.len() == 1 {
        features.take("shape", "html alone", "");
    }
}

/// Marks of mail that is drawn rather than written.
fn markup(html: &str, features: &mut Features) {
    let lower = html.to_ascii_lowercase();
    for mark in ["<form", "<img", "<font", "<table", "<script", "<iframe", "<center", "bgcolor", "display:none", "<a "]
    {
        if lower.contains(mark) {
            features.take("markup", mark, "");
        }
    }
}

/// Words and pairs of words; Chinese, Japanese and Korean text as overlapping pairs of characters.
fn words(kind: &str, text: &str, features: &mut Features) {
    let mut words = Words { kind, hash: Hash::of(kind), before: String::new(), word: String::new(), before_hash: None };
    let mut previous: Option<char> = None;
    for character in text.chars().chain([' ']) {
        if features.is_full() {
            return;
        }
        if is_cjk(character) {
            if let Some(previous) = previous {
                let (mut first, mut second) = ([0; 4], [0; 4]);
                features.take(kind, previous.encode_utf8(&mut first), character.encode_utf8(&mut second));
            }
            previous = Some(character);
            continue;
        }
        previous = None;
        if character.is_ascii_alphanumeric() || matches!(character, '$' | '\'') {
            words.word.push(character.to_ascii_lowercase());
        } else if !character.is_ascii() && character.is_alphanumeric() {
            words.word.extend(character.to_lowercase());
        } else if !words.word.is_empty() {
            words.finish(features);
        } else if character == '!' {
            features.take(kind, "!", "");
        }
    }
}

struct Words<'a> {
    kind: &'a str,
    /// Of the kind.
    hash: Hash,
    before: String,
    /// Of kind and the word before.
    before_hash: Option<Hash>,
    word: String,
}

impl Words<'_> {
    fn finish(&mut self, features: &mut Features) {
        if self.word.bytes().all(|byte| byte.is_ascii_digit()) {
            // A number says something by its length only.
            self.word = format!("#{}", self.word.len().min(9));
        }
        if self.word.len() > MAX_WORD_CHARS && self.word.chars().nth(MAX_WORD_CHARS).is_some() {
            self.word.replace_range(.., "long word");
        }
        let hash = self.hash.part(&self.word);
        features.take_at(hash.part(""), self.kind, &self.word, "");
        if let Some(before) = self.before_hash {
            features.take_at(before.part(&self.word), self.kind, &self.before, &self.word);
        }
        self.before_hash = Some(hash);
        std::mem::swap(&mut self.before, &mut self.word);
        self.word.clear();
    }
}

fn is_cjk(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}')
}

/// Hosts of links, and the oddities of links that hide where they lead.
fn hosts(message: &Message<'_>, features: &mut Features) {
    let mut count = 0;
    for_each_leaf(message, &mut |_, part| {
        let (PartType::Html(text) | PartType::Text(text)) = &part.body else { return };
        let mut rest = text::cut(text, MAX_TEXT_BYTES);
        while let Some(position) = rest.find("://") {
            rest = &rest[position + 3..];
            let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "-._@:%".contains(letter)));
            host(&rest[..end.unwrap_or(rest.len())], features);
            count += 1;
            if count >= MAX_HOSTS {
                return;
            }
        }
    });
}

fn host(authority: &str, features: &mut Features) {
    if authority.contains('@') {
        features.take("link", "with user", "");
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    if !port.is_empty() && port != "80" && port != "443" {
        features.take("link", "with port", "");
    }
    if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        features.take("link", "to a number", "");
        return;
    }
    let host = host.to_ascii_lowercase();
    let mut labels = host.rsplitn(3, '.');
    if let (Some(top), Some(name)) = (labels.next(), labels.next()) {
        features.take("host", name, top);
    }
}
