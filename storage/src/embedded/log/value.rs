//! How a record is stored: key = offset (u64, big-endian), value =
//! `version u8 = 1 | appended_at_us i64 | bytes_before u64 | key length u32 | key | value`, integers big-endian.
//! `bytes_before` counts the bytes of keys and values of the partition before this record since its beginning, so that
//! the size of any range is a subtraction. Checksums are the LSM store's (per block and per journal batch).

use bytes::Bytes;

const VERSION: u8 = 1;
const HEADER_LEN: usize = 1 + 8 + 8 + 4;

/// A stored record without its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) appended_at_us: i64,
    pub(crate) bytes_before: u64,
    pub(crate) key: String,
    pub(crate) value: Bytes,
}

/// The fixed part, which is all that retention needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) appended_at_us: i64,
    pub(crate) bytes_before: u64,
    /// Length of key and value.
    pub(crate) len: u64,
    key_len: usize,
}

pub(crate) fn encode(appended_at_us: i64, bytes_before: u64, key: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + key.len() + value.len());
    out.push(VERSION);
    out.extend_from_slice(&appended_at_us.to_be_bytes());
    out.extend_from_slice(&bytes_before.to_be_bytes());
    // A key is an identifier; one of 4 GB cannot be in memory beside its request.
    out.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value);
    out
}

pub(crate) fn decode_header(bytes: &[u8]) -> Result<Header, String> {
    let (version, rest) = bytes.split_first().ok_or("an empty record")?;
    if *version != VERSION {
        return Err(format!("a record of format {version}; this program knows format {VERSION}"));
    }
    let cut_off = || "a record cut off in its header".to_owned();
    let (appended_at, rest) = rest.split_first_chunk::<8>().ok_or_else(cut_off)?;
    let (bytes_before, rest) = rest.split_first_chunk::<8>().ok_or_else(cut_off)?;
    let (key_len, rest) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let key_len = u32::from_be_bytes(*key_len) as usize;
    if rest.len() < key_len {
        return Err("a record cut off in its key".to_owned());
    }
    Ok(Header {
        appended_at_us: i64::from_be_bytes(*appended_at),
        bytes_before: u64::from_be_bytes(*bytes_before),
        len: rest.len() as u64,
        key_len,
    })
}

/// The key alone, for compaction.
pub(crate) fn decode_key(bytes: &[u8]) -> Result<&[u8], String> {
    let header = decode_header(bytes)?;
    Ok(&bytes[HEADER_LEN..HEADER_LEN + header.key_len])
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Stored, String> {
    let header = decode_header(bytes)?;
    let (key, value) = bytes[HEADER_LEN..].split_at(header.key_len);
    Ok(Stored {
        appended_at_us: header.appended_at_us,
        bytes_before: header.bytes_before,
        key: std::str::from_utf8(key).map_err(|_| "a record whose key is not UTF-8")?.to_owned(),
        value: Bytes::copy_from_slice(value),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes(at in any::<i64>(), before in any::<u64>(), key in ".{0,40}", value in any::<Vec<u8>>()) {
            let bytes = encode(at, before, &key, &value);
            let stored = decode(&bytes).unwrap();
            prop_assert_eq!(decode_key(&bytes).unwrap(), key.as_bytes());
            prop_assert_eq!(decode_header(&bytes).unwrap().len, (key.len() + value.len()) as u64);
            prop_assert_eq!(stored, Stored { appended_at_us: at, bytes_before: before, key, value: value.into() });
        }

        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn format_1_reads_for_ever() {
        let stored = decode(include_bytes!("../../../fixtures/log-v1.record")).unwrap();
        let expected = Stored {
            appended_at_us: 1_763_900_000_123_456,
            bytes_before: 77,
            key: "a7f3k2".to_owned(),
            value: Bytes::from_static(b"\x00\x00\x00\x00\x05value"),
        };
        assert_eq!(stored, expected);
    }

    #[test]
    fn a_record_of_another_format_is_refused_by_number() {
        assert_eq!(decode(&[9, 0]).unwrap_err(), "a record of format 9; this program knows format 1");
    }
}
