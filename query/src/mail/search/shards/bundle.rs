//! Several files of an index as one object: the files, a list of them as JSON, its length (4 bytes, little endian), and
//! four bytes that say what this is.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tantivy::directory::FileSlice;

use super::manifest::Object;

const MAGIC: &[u8; 4] = b"MSB1";
/// Length of the list, and the magic.
const TAIL: usize = 8;
const BUFFER: usize = 256 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    offset: usize,
    length: usize,
}

/// A file in an object.
pub(super) type Place = (PathBuf, Range<usize>);

/// Counts and hashes what goes through.
struct Hashing<W> {
    out: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Bundles the files of `folder` into `target`, which is whole and on disk when it is there.
pub(super) fn write(folder: &Path, files: &[PathBuf], target: &Path, name: String) -> io::Result<(Object, Vec<Place>)> {
    let parent = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = tempfile::NamedTempFile::new_in(parent)?;
    let mut out = Hashing {
        out: io::BufWriter::with_capacity(BUFFER, temporary.as_file()),
        hasher: blake3::Hasher::new(),
        bytes: 0,
    };
    let mut entries = Vec::with_capacity(files.len());
    for file in files {
        let offset = out.bytes as usize;
        let length = io::copy(&mut std::fs::File::open(folder.join(file))?, &mut out)? as usize;
        entries.push(Entry { name: file.to_string_lossy().into_owned(), offset, length });
    }
    let list = serde_json::to_vec(&entries)?;
    out.write_all(&list)?;
    out.write_all(&u32::try_from(list.len()).map_err(io::Error::other)?.to_le_bytes())?;
    out.write_all(MAGIC)?;
    out.flush()?;
    let object = Object { name, bytes: out.bytes, blake3: out.hasher.finalize().to_hex().to_string() };
    drop(out);
    keep(temporary, target)?;
    Ok((object, entries.into_iter().map(place).collect()))
}

/// Gives a file its name once it is on disk, so that one that has its name is whole.
pub(super) fn keep(temporary: tempfile::NamedTempFile, target: &Path) -> io::Result<()> {
    temporary.as_file().sync_data()?;
    temporary.persist(target)?;
    Ok(())
}

fn place(entry: Entry) -> Place {
    (PathBuf::from(entry.name), entry.offset..entry.offset + entry.length)
}

/// The files of an object.
pub(super) fn read(object: &FileSlice) -> io::Result<Vec<Place>> {
    let damaged = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let length = tantivy::HasLen::len(object);
    if length < TAIL {
        return Err(damaged("it is too short"));
    }
    let tail = object.read_bytes_slice(length - TAIL..length)?;
    let (mut list_length, mut magic) = ([0; 4], [0; 4]);
    let mut tail = tail.as_slice();
    tail.read_exact(&mut list_length)?;
    tail.read_exact(&mut magic)?;
    let list_length = u32::from_le_bytes(list_length) as usize;
    if &magic != MAGIC || list_length > length - TAIL {
        return Err(damaged("it is no bundle of index files"));
    }
    let files = length - TAIL - list_length;
    let entries: Vec<Entry> = serde_json::from_slice(&object.read_bytes_slice(files..length - TAIL)?)?;
    if entries.iter().any(|entry| entry.offset.checked_add(entry.length).is_none_or(|end| end > files)) {
        return Err(damaged("its list of files is wrong"));
    }
    Ok(entries.into_iter().map(place).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tantivy::directory::{Directory, MmapDirectory};

    use super::*;

    #[test]
    fn files_come_back_from_a_bundle() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.idx"), "first").unwrap();
        std::fs::write(dir.path().join("a.del"), "").unwrap();
        let files = [PathBuf::from("a.idx"), PathBuf::from("a.del")];
        let target = dir.path().join("1-a");
        let (object, places) = write(dir.path(), &files, &target, "1-a".to_owned()).unwrap();
        let bytes = std::fs::read(&target).unwrap();
        assert_eq!((object.bytes, object.blake3), (bytes.len() as u64, blake3::hash(&bytes).to_hex().to_string()));
        let open = |name: &str| MmapDirectory::open(dir.path()).unwrap().open_read(Path::new(name)).unwrap();
        assert_eq!(read(&open("1-a")).unwrap(), places);
        assert_eq!(places, [("a.idx".into(), 0..5), ("a.del".into(), 5..5)]);
        std::fs::write(&target, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(&open("1-a")).is_err());
        assert!(read(&open("a.idx")).is_err());
    }
}
