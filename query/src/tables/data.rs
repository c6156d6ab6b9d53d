//! A data file that can be read without waiting for a network.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

use super::TableError;

/// Cheap to clone.
#[derive(Clone)]
pub(super) enum Data {
    Disk(Arc<File>),
    Memory(Bytes),
}

impl Data {
    pub(super) fn open(path: &str) -> std::result::Result<Self, TableError> {
        let file = File::open(path).map_err(|source| TableError::File { path: path.to_owned(), source })?;
        Ok(Self::Disk(Arc::new(file)))
    }
}

impl Length for Data {
    fn len(&self) -> u64 {
        match self {
            Data::Disk(file) => file.len(),
            Data::Memory(bytes) => bytes.len() as u64,
        }
    }
}

impl ChunkReader for Data {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        match self {
            Data::Disk(file) => Ok(Box::new(io::BufReader::new(Tail { file: file.clone(), at: start }))),
            Data::Memory(bytes) => Ok(Box::new(bytes.get_read(start)?.into_inner().reader())),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Data::Disk(file) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
            Data::Memory(bytes) => bytes.get_bytes(start, length),
        }
    }
}

/// A file from some position on; its own position stays where it is, since others read it too.
struct Tail {
    file: Arc<File>,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
