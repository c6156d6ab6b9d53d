//! The content of a part: octets without transfer encoding, and text without charset.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use super::structure::Part;

/// Padding may be missing, and the last bits need not be zero.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The octets of a part, and whether all went well.
pub struct Octets<'a> {
    pub bytes: Cow<'a, [u8]>,
    pub is_problem: bool,
}

/// The text of a part: CRLF as LF.
pub struct Text {
    pub value: String,
    pub is_problem: bool,
    pub is_truncated: bool,
}

/// Undoes the transfer encoding. An unknown one is taken as none; of a broken one, what can be read.
pub fn octets<'a>(part: &Part<'a>) -> Octets<'a> {
    let plain = |is_problem| Octets { bytes: Cow::Borrowed(part.body), is_problem };
    let Some(field) = part.field("Content-Transfer-Encoding") else { return plain(false) };
    let encoding = field.raw().trim().to_ascii_lowercase();
    match encoding.as_str() {
        "base64" => base64(part.body),
        "quoted-printable" => match quoted_printable_decode(part.body) {
            Some(bytes) => Octets { bytes: Cow::Owned(bytes), is_problem: false },
            None => plain(true),
        },
        "" | "7bit" | "8bit" | "binary" => plain(false),
        _ => plain(true),
    }
}

/// Decodes base64; characters outside the alphabet are skipped (RFC 2045 section 6.8), a cut-off end is dropped.
fn base64(body: &[u8]) -> Octets<'static> {
    let is_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let end = body.iter().position(|byte| *byte == b'=').unwrap_or(body.len());
    let mut clean: Vec<u8> = body[..end].iter().copied().filter(is_alphabet).collect();
    let is_odd = body[..end].iter().any(|byte| !is_alphabet(byte) && !byte.is_ascii_whitespace());
    let is_cut = clean.len() % 4 == 1;
    if is_cut {
        clean.pop();
    }
    let decoded = LENIENT.decode(&clean).ok();
    Octets { is_problem: is_odd || is_cut || decoded.is_none(), bytes: Cow::Owned(decoded.unwrap_or_default()) }
}

/// The text of a part, at most `max_bytes` bytes of it (0: all).
pub fn text(part: &Part<'_>, max_bytes: usize) -> Text {
    let octets = octets(part);
    let charset = part.charset.as_deref().unwrap_or("us-ascii");
    let (mut value, is_charset_problem) = decode_charset(&octets.bytes, charset);
    if value.contains('\r') {
        value = value.replace("\r\n", "\n");
    }
    let is_truncated = max_bytes > 0 && value.len() > max_bytes;
    if is_truncated {
        truncate(&mut value, max_bytes, part.media_type == "text/html");
    }
    Text { value, is_problem: octets.is_problem || is_charset_problem, is_truncated }
}

/// Text that says it is ASCII, or in a charset we do not know, is read as UTF-8 when it is that.
fn decode_charset(bytes: &[u8], charset: &str) -> (String, bool) {
    let is_utf8 = ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|name| charset.eq_ignore_ascii_case(name));
    if is_utf8 || bytes.is_ascii() && !charset.to_ascii_lowercase().starts_with("iso-2022") {
        let text = String::from_utf8_lossy(bytes);
        let is_problem = matches!(text, Cow::Owned(_));
        return (text.into_owned(), is_problem);
    }
    match charset_decoder(charset.as_bytes()) {
        Some(decode) => {
            let text = decode(bytes);
            let is_problem = text.contains('\u{fffd}');
            (text, is_problem)
        }
        None => (String::from_utf8_lossy(bytes).into_owned(), true),
    }
}

/// Cuts at a character, and in HTML before a tag that would be cut in two.
fn truncate(text: &mut String, max_bytes: usize, is_html: bool) {
    let mut end = max_bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if is_html {
        let kept = &text[..end];
        if let Some(open) = kept.rfind('<').filter(|open| !kept[*open..].contains('>')) {
            end = open;
        }
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8], max_bytes: usize) -> (String, bool, bool) {
        let text = text(&Part::parse(message), max_bytes);
        (text.value, text.is_problem, text.is_truncated)
    }

    #[test]
    fn encodings_and_charsets_are_undone() {
        let euc_kr = b"Content-Type: text/plain; charset=EUC-KR\n\n\xb0\xa1\xb3\xaa\r\n";
        assert_eq!(read(euc_kr, 0), ("가나\n".into(), false, false));
        let jis = b"Content-Type: text/plain; charset=ISO-2022-JP\n\n\x1b$B$\"\x1b(B";
        assert_eq!(read(jis, 0), ("あ".into(), false, false));
        let base64 = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: BASE64\n\n6rCA\n64KY\n";
        assert_eq!(read(base64, 0), ("가나".into(), false, false));
        let quoted =
            b"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nca=\nf=E9";
        assert_eq!(read(quoted, 0), ("café".into(), false, false));
    }

    #[test]
    fn what_cannot_be_decoded_is_told() {
        assert!(read(b"Content-Type: text/plain; charset=x-unknown\n\n\xff", 0).1);
        assert!(read(b"Content-Type: text/plain; charset=utf-8\n\n\xff", 0).1);
        assert!(read(b"Content-Transfer-Encoding: uuencode\n\nx", 0).1);
        assert_eq!(read(b"Content-Transfer-Encoding: base64\n\n!YWJj*\nZA", 0), ("abcd".into(), true, false));
    }

    #[test]
    fn truncation_respects_characters_and_tags() {
        assert_eq!(read("Content-Type: text/plain; charset=utf-8\n\n가나".as_bytes(), 4), ("가".into(), false, true));
        assert_eq!(read(b"Content-Type: text/html\n\n<p>x<a href=y>", 8), ("<p>x".into(), false, true));
        assert_eq!(read(b"\nabc", 3), ("abc".into(), false, false));
    }
}
