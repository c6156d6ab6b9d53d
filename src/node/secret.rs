//! Secrets that a data directory keeps for itself: made at the first start, readable by us alone.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

const BYTES: usize = 32;

/// The secret in `file`, which is made when there is none.
///
/// # Errors
/// When the file cannot be read or written, or holds something else.
pub fn load_or_make(file: &Path) -> anyhow::Result<[u8; BYTES]> {
    match fs::read(file) {
        Ok(bytes) => bytes.try_into().map_err(|bytes: Vec<u8>| {
            let (name, found) = (file.display(), bytes.len());
            anyhow::anyhow!(
                "{name} holds {found} bytes and should hold {BYTES}; remove it to have it made again (sessions and \
                 ids of uploads given out before are void then)"
            )
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => make(file),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

/// Written beside and renamed, so that there is never half a secret.
fn make(file: &Path) -> anyhow::Result<[u8; BYTES]> {
    let secret: [u8; BYTES] = rand::random();
    let beside = file.with_extension("new");
    let write = || {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        new.write_all(&secret)?;
        new.sync_all()?;
        fs::rename(&beside, file)
    };
    write().with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_us_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys/upload.key");
        let secret = load_or_make(&file).unwrap();
        assert_eq!(load_or_make(&file).unwrap(), secret);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, b"short").unwrap();
        assert!(load_or_make(&file).unwrap_err().to_string().contains("holds 5 bytes"));
    }
}
