//! The writes of packs, behind a trait so that tests can make them fail.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Creates pack files.
pub trait Disk: Send {
    /// Creates a file that must not exist, with its folder; both are on disk when this returns.
    fn create(&self, path: &Path) -> io::Result<Box<dyn PackFile>>;

    /// Removes a file that [`Self::create`] made.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A file that only grows.
pub trait PackFile: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything that was appended is on disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts off what is behind `len`.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// The file system.
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn PackFile>> {
        let day = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        if !day.is_dir() {
            std::fs::create_dir_all(day)?;
            sync_dir(day.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        }
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        sync_dir(day)?;
        Ok(Box::new(LocalFile(file)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

struct LocalFile(File);

impl PackFile for LocalFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
