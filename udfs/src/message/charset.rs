//! Text whose charset is not said, or said wrongly: raw 8-bit header fields and bodies.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8};
use memchr::{memchr, memmem};

/// How much is looked at for a declared charset, and by the detector.
const LOOK_BYTES: usize = 16 * 1024;

/// Where the header section ends: after the line end of its last field, before the empty line.
pub(crate) fn header_end(raw: &[u8]) -> usize {
    let mut at = 0;
    while let Some(newline) = memchr(b'\n', &raw[at..]) {
        let line = &raw[at..at + newline];
        if line.is_empty() || line == b"\r" {
            return at;
        }
        at += newline + 1;
    }
    raw.len()
}

/// `raw` with its header section decoded to UTF-8, when it holds bytes that are not; None when it needs nothing.
pub(crate) fn header_in_utf8(raw: &[u8]) -> Option<Vec<u8>> {
    let end = header_end(raw);
    let header = &raw[..end];
    if !has_escape(header) && std::str::from_utf8(header).is_ok() {
        return None;
    }
    let text = decode_guessing(header, declared(&raw[..raw.len().min(LOOK_BYTES)]));
    let mut recoded = Vec::with_capacity(text.len() + raw.len() - end);
    recoded.extend_from_slice(text.as_bytes());
    recoded.extend_from_slice(&raw[end..]);
    Some(recoded)
}

/// Decodes by the declared charset if the bytes fit it, else by the likeliest.
pub(crate) fn decode_guessing<'x>(bytes: &'x [u8], declared: Option<&'static Encoding>) -> Cow<'x, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !has_escape(bytes)
    {
        return Cow::Borrowed(text);
    }
    if has_escape(bytes)
        && let Some(text) = ISO_2022_JP.decode_without_bom_handling_and_without_replacement(bytes)
    {
        return text;
    }
    if let Some(text) = declared.and_then(|charset| charset.decode_without_bom_handling_and_without_replacement(bytes))
    {
        return text;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(&bytes[..bytes.len().min(LOOK_BYTES)], true);
    detector.guess(None, Utf8Detection::Allow).decode_without_bom_handling(bytes).0
}

/// The first charset that the start of a message names and that says anything: `us-ascii` does not.
pub(crate) fn declared(start: &[u8]) -> Option<&'static Encoding> {
    let mut rest = start;
    while let Some(position) = find_ignoring_case(rest, b"charset") {
        rest = &rest[position + b"charset".len()..];
        let label = charset_value(rest);
        if let Some(charset) = Encoding::for_label(label).filter(|_| !is_ascii_label(label))
            && charset != UTF_8
        {
            return Some(charset);
        }
    }
    None
}

/// Whether a charset's name promises less than the bytes hold.
pub(crate) fn is_ascii_label(label: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [b"us-ascii", b"ascii", b"ansi_x3.4-1968", b"iso-ir-6", b"unknown-8bit", b"x-unknown"];
    NAMES.iter().any(|name| name.eq_ignore_ascii_case(label.trim_ascii()))
}

/// `="euc-kr";…`, `=3Deuc-kr` (quoted-printable HTML) and the like, cut to the name.
fn charset_value(rest: &[u8]) -> &[u8] {
    let value = rest.trim_ascii_start().strip_prefix(b"=").unwrap_or_default();
    let value = value.strip_prefix(b"3D").unwrap_or(value).trim_ascii_start();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let end = value.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"-_.:".contains(byte));
    &value[..end.unwrap_or(value.len()).min(40)]
}

/// A shift to JIS X 0208 or the like: seven-bit Japanese without encoded words.
fn has_escape(bytes: &[u8]) -> bool {
    memmem::find(bytes, b"\x1b$").is_some()
}

fn find_ignoring_case(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn raw_korean_subject_is_decoded() {
        let (subject, _, _) = encoding_rs::EUC_KR.encode("안녕하세요, 견적서를 보내드립니다");
        let mut raw = b"Subject: ".to_vec();
        raw.extend_from_slice(&subject);
        raw.extend_from_slice(b"\r\n\r\nbody\r\n");
        let recoded = header_in_utf8(&raw).unwrap();
        assert!(String::from_utf8(recoded).unwrap().contains("견적서를"));
    }

    #[test]
    fn a_declared_charset_is_believed_when_the_bytes_fit() {
        let (subject, _, _) = encoding_rs::KOI8_R.encode("Привет");
        let mut raw = b"Subject: ".to_vec();
        raw.extend_from_slice(&subject);
        raw.extend_from_slice(b"\r\nContent-Type: text/plain; charset=\"koi8-r\"\r\n\r\n");
        let recoded = header_in_utf8(&raw).unwrap();
        assert!(String::from_utf8(recoded).unwrap().contains("Привет"));
    }

    #[test]
    fn plain_headers_are_left_alone() {
        assert!(header_in_utf8(b"Subject: caf\xc3\xa9\r\n\r\n\xff\xfe").is_none());
    }

    #[test]
    fn seven_bit_japanese_without_encoded_words_is_decoded() {
        let (subject, _, _) = encoding_rs::ISO_2022_JP.encode("日本語の件名");
        assert_eq!(decode_guessing(&subject, None), "日本語の件名");
    }
}
