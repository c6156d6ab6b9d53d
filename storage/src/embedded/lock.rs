use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;

use super::OpenError;

/// Keeps every other process out of a data directory. The operating system lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Creates the directory when there is none, and locks `millrace.lock` in it.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(|error| OpenError::io(dir, error))?;
        let path = dir.join("millrace.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| OpenError::io(&path, error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(dir.to_owned()),
            TryLockError::Error(source) => OpenError::io(&path, source),
        })?;
        // The process id is for people who look; a full disk must not keep the service from starting to read.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}
