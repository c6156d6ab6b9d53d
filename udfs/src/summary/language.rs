//! The language: what the message says, else what its script gives away.

use mail_parser::{HeaderName, HeaderValue, Message};

/// Letters of a script that decide.
const ENOUGH_LETTERS: usize = 4;

pub(super) fn of(message: &Message<'_>, subject: Option<&str>, body: &str) -> Option<String> {
    said(message).or_else(|| by_script(subject.unwrap_or_default().chars().chain(body.chars())).map(str::to_owned))
}

/// Content-Language (RFC 3282), its first tag.
fn said(message: &Message<'_>) -> Option<String> {
    let tag = match message.header(HeaderName::ContentLanguage)? {
        HeaderValue::Text(tag) => tag.split(',').next()?,
        HeaderValue::TextList(tags) => tags.first()?,
        _ => return None,
    };
    let tag = tag.trim();
    let is_tag = (2..=35).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_tag.then(|| tag.to_owned())
}

/// Only scripts that belong to one language, or to one that outweighs the others.
fn by_script(text: impl Iterator<Item = char>) -> Option<&'static str> {
    let (mut hangul, mut kana, mut han) = (0, 0, 0);
    for character in text.filter(|character| !character.is_ascii()) {
        match character {
            '\u{ac00}'..='\u{d7a3}' | '\u{1100}'..='\u{11ff}' => hangul += 1,
            '\u{3040}'..='\u{30ff}' => kana += 1,
            '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' => han += 1,
            _ => {}
        }
    }
    match (hangul, kana, han) {
        (hangul, kana, _) if hangul >= ENOUGH_LETTERS && hangul >= kana => Some("ko"),
        (_, kana, _) if kana >= ENOUGH_LETTERS => Some("ja"),
        (_, _, han) if han >= ENOUGH_LETTERS => Some("zh"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_give_the_language() {
        assert_eq!(by_script("견적서를 보내드립니다".chars()), Some("ko"));
        assert_eq!(by_script("請求書を送ります".chars()), Some("ja"));
        assert_eq!(by_script("请查收附件".chars()), Some("zh"));
        assert_eq!(by_script("Grüße aus Köln".chars()), None);
    }
}
