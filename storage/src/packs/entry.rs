//! The format of packs, version 1. Integers are big-endian.
//!
//! A pack begins with `"MILLPACK" | version u16 = 1 | 6 reserved bytes`. Then entries:
//!
//! | bytes | |
//! |---|---|
//! | 4 | `"MRE1"` |
//! | 1 | codec: 0 as it is, 1 zstd |
//! | 1 | flags, 0 |
//! | 2 | reserved, 0 |
//! | 16 | key id, 0: no encryption |
//! | 8 | length of the body |
//! | 8 | length as stored |
//! | 4 | CRC-32 of the stored bytes |
//! | 4 | CRC-32 of the 44 bytes above |
//! | … | the stored bytes |

use std::cell::RefCell;

use bytes::Bytes;

pub const PACK_HEADER_LEN: usize = 16;
pub const ENTRY_HEADER_LEN: usize = 48;
pub(crate) const ENTRY_MAGIC: &[u8; 4] = b"MRE1";

const PACK_MAGIC: &[u8; 8] = b"MILLPACK";
const PACK_VERSION: u16 = 1;
const CODEC_PLAIN: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 1;
/// A header that says more is not believed.
const MAX_BODY_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// No entry is longer.
pub(crate) const MAX_ENTRY_BYTES: u64 = MAX_BODY_BYTES + ENTRY_HEADER_LEN as u64;
/// Below this, compression has nothing to work with.
const MIN_COMPRESSED_BYTES: usize = 128;

thread_local! {
    // Making either costs more than most bodies take.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The fixed part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    codec: u8,
    pub body_len: u64,
    pub stored_len: u64,
    stored_crc: u32,
}

impl EntryHeader {
    /// Header and stored bytes.
    pub fn entry_len(&self) -> u64 {
        ENTRY_HEADER_LEN as u64 + self.stored_len
    }

    fn encode(&self) -> [u8; ENTRY_HEADER_LEN] {
        let mut out = [0; ENTRY_HEADER_LEN];
        out[..4].copy_from_slice(ENTRY_MAGIC);
        out[4] = self.codec;
        out[24..32].copy_from_slice(&self.body_len.to_be_bytes());
        out[32..40].copy_from_slice(&self.stored_len.to_be_bytes());
        out[40..44].copy_from_slice(&self.stored_crc.to_be_bytes());
        let crc = crc32fast::hash(&out[..44]);
        out[44..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a header, or tells what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let bytes: &[u8; ENTRY_HEADER_LEN] = bytes
            .get(..ENTRY_HEADER_LEN)
            .and_then(|header| header.try_into().ok())
            .ok_or("it is cut off in its header")?;
        if &bytes[..4] != ENTRY_MAGIC {
            return Err("no entry begins here".to_owned());
        }
        if u32_at(bytes, 44) != crc32fast::hash(&bytes[..44]) {
            return Err("its header's checksum is wrong".to_owned());
        }
        if bytes[5] != 0 || bytes[6..24].iter().any(|byte| *byte != 0) {
            return Err("it is encrypted or flagged in a way that this program does not know".to_owned());
        }
        let header = Self {
            codec: bytes[4],
            body_len: u64_at(bytes, 24),
            stored_len: u64_at(bytes, 32),
            stored_crc: u32_at(bytes, 40),
        };
        match header.codec {
            CODEC_PLAIN | CODEC_ZSTD if header.body_len <= MAX_BODY_BYTES => Ok(header),
            CODEC_PLAIN | CODEC_ZSTD => Err(format!("its length of {} bytes is not possible", header.body_len)),
            codec => Err(format!("its codec is {codec}, which this program does not know")),
        }
    }

    /// The body, from the stored bytes.
    pub fn open(&self, stored: &[u8]) -> Result<Bytes, String> {
        if stored.len() as u64 != self.stored_len {
            return Err(format!("it is cut off: {} of {} bytes are there", stored.len(), self.stored_len));
        }
        if crc32fast::hash(stored) != self.stored_crc {
            return Err("its checksum is wrong".to_owned());
        }
        let body_len = usize::try_from(self.body_len).map_err(|_| "it is larger than the memory")?;
        let body = match self.codec {
            CODEC_ZSTD => decompress(stored, body_len).map_err(|error| format!("it does not decompress: {error}"))?,
            _ => stored.to_vec(),
        };
        if body.len() != body_len {
            return Err(format!("it has {} bytes and should have {body_len}", body.len()));
        }
        Ok(body.into())
    }
}

pub fn pack_header() -> [u8; PACK_HEADER_LEN] {
    let mut out = [0; PACK_HEADER_LEN];
    out[..8].copy_from_slice(PACK_MAGIC);
    out[8..10].copy_from_slice(&PACK_VERSION.to_be_bytes());
    out
}

pub fn check_pack_header(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() < PACK_HEADER_LEN || &bytes[..8] != PACK_MAGIC {
        return Err("it is not a pack".to_owned());
    }
    match u16::from_be_bytes([bytes[8], bytes[9]]) {
        PACK_VERSION => Ok(()),
        version => Err(format!("it is a pack of format {version}; this program knows format {PACK_VERSION}")),
    }
}

/// Header and stored bytes of a body, compressed where that makes it smaller.
pub fn encode(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; ENTRY_HEADER_LEN];
    let codec = if compress_into(body, &mut out) {
        CODEC_ZSTD
    } else {
        out.truncate(ENTRY_HEADER_LEN);
        out.extend_from_slice(body);
        CODEC_PLAIN
    };
    let stored = &out[ENTRY_HEADER_LEN..];
    let header = EntryHeader {
        codec,
        body_len: body.len() as u64,
        stored_len: stored.len() as u64,
        stored_crc: crc32fast::hash(stored),
    };
    out[..ENTRY_HEADER_LEN].copy_from_slice(&header.encode());
    out
}

/// Appends the compressed body; false when that is no gain.
fn compress_into(body: &[u8], out: &mut Vec<u8>) -> bool {
    if body.len() < MIN_COMPRESSED_BYTES {
        return false;
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        let Some(compressor) = slot else { return false };
        // No room for more than the body: what does not shrink fails, and stays as it is.
        out.resize(ENTRY_HEADER_LEN + body.len() - 1, 0);
        match compressor.compress_to_buffer(body, &mut out[ENTRY_HEADER_LEN..]) {
            Ok(len) => {
                out.truncate(ENTRY_HEADER_LEN + len);
                out.shrink_to_fit();
                true
            }
            Err(_) => false,
        }
    })
}

fn decompress(stored: &[u8], body_len: usize) -> std::io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress(stored, body_len)
    })
}

fn u32_at(bytes: &[u8; ENTRY_HEADER_LEN], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8; ENTRY_HEADER_LEN], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn decode(entry: &[u8]) -> Result<Bytes, String> {
        EntryHeader::decode(entry)?.open(&entry[ENTRY_HEADER_LEN..])
    }

    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<Vec<u8>>(),
            "[a-e\r\n]{0,3000}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 100..2000),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(body in bodies()) {
            let entry = encode(&body);
            prop_assert_eq!(EntryHeader::decode(&entry).unwrap().entry_len(), entry.len() as u64);
            prop_assert!(entry.len() <= ENTRY_HEADER_LEN + body.len());
            prop_assert_eq!(decode(&entry).unwrap(), body);
        }

        #[test]
        fn a_changed_byte_is_always_noticed(body in bodies(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut entry = encode(&body);
            let at = at.index(entry.len());
            entry[at] ^= flip;
            prop_assert!(decode(&entry).is_err());
        }

        #[test]
        fn a_cut_entry_is_always_noticed(body in bodies(), at in any::<prop::sample::Index>()) {
            let entry = encode(&body);
            prop_assert!(decode(&entry[..at.index(entry.len())]).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn text_shrinks() {
        assert!(encode(&b"Received: from example\r\n".repeat(100)).len() < 300);
    }
}
