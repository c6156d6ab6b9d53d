//! Transfer encodings that the parser leaves as they are: with characters that do not belong there, or without the
//! boundary that should end them. Readers of mail show such parts decoded (RFC 2045 sections 6.7 and 6.8 say how), so
//! whoever judges a message has to see them decoded too.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_parser::{Encoding, Message, MessagePart, MimeHeaders, PartType};

/// Padding may be missing, and the last bits need not be zero.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The octets of a part that names an encoding and was not decoded; None for any other part.
pub(crate) fn undone(message: &Message<'_>, part: &MessagePart<'_>) -> Option<Vec<u8>> {
    if part.encoding != Encoding::None || matches!(part.body, PartType::Multipart(_) | PartType::Message(_)) {
        return None;
    }
    let named = part.content_transfer_encoding()?;
    let name = named.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(|word| !word.is_empty())?;
    let raw = message.raw_message.get(part.offset_body as usize..part.offset_end as usize)?;
    match name.to_ascii_lowercase().as_str() {
        "base64" => Some(base64(raw)),
        "quoted-printable" => Some(quoted_printable(raw)),
        _ => None,
    }
}

/// Characters outside the alphabet are skipped, a cut-off end is dropped, padding ends it.
fn base64(raw: &[u8]) -> Vec<u8> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut digits: Vec<u8> =
        raw.iter().copied().take_while(|byte| *byte != b'=').filter(|byte| is_digit(byte)).collect();
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LENIENT.decode(&digits).unwrap_or_default()
}

/// An equals sign that begins neither an octet nor a soft line break stays.
fn quoted_printable(raw: &[u8]) -> Vec<u8> {
    let digit = |at: usize| raw.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut octets = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        at += 1;
        if byte != b'=' {
            octets.push(byte);
        } else if let (Some(high), Some(low)) = (digit(at), digit(at + 1)) {
            octets.push((high << 4 | low) as u8);
            at += 2;
        } else if raw[at..].starts_with(b"\r\n") {
            at += 2;
        } else if raw[at..].starts_with(b"\n") {
            at += 1;
        } else {
            octets.push(byte);
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_belong_is_skipped_or_stays() {
        assert_eq!(base64(b"aGVs\r\nbG8!*gd29ybGQ=\r\n-- \r\n"), b"hello world");
        assert_eq!(base64(b"aGVsbG8gd29ybGQ"), b"hello world");
        assert_eq!(base64(b"aGVsbA"), b"hell");
        assert_eq!(quoted_printable(b"a=3Db =\r\nc=\nd =zz ="), b"a=b cd =zz =");
    }
}
