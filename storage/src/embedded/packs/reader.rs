use std::fs::File;
use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use crate::blob::{BlobError, BodyRef};
use crate::packs::entry::{self, PACK_HEADER_LEN};
use crate::packs::{is_name, open_entry};

/// Reads entries at their place; keeps some packs open.
pub(crate) struct Reader {
    dir: PathBuf,
    open: Mutex<LruCache<String, Arc<File>>>,
}

impl Reader {
    pub(crate) fn new(dir: &Path, max_open: usize) -> Self {
        let max_open = NonZeroUsize::new(max_open).unwrap_or(NonZeroUsize::MIN);
        Self { dir: dir.to_owned(), open: Mutex::new(LruCache::new(max_open)) }
    }

    pub(crate) fn read(&self, reference: &BodyRef) -> Result<Bytes, BlobError> {
        let damaged = |reason: String| BlobError::Damaged { reference: reference.clone(), reason };
        let file = self.file(reference)?;
        let size = file.metadata().map_err(|error| failed(&error))?.len();
        // Checked before memory is taken for it.
        if reference.offset.checked_add(reference.length).is_none_or(|end| end > size) {
            return Err(damaged(format!("it is cut off: the pack has {size} bytes")));
        }
        let length =
            usize::try_from(reference.length).map_err(|_| damaged("it is larger than the memory".to_owned()))?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, reference.offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => damaged("it is cut off".to_owned()),
            _ => failed(&error),
        })?;
        open_entry(reference, &bytes)
    }

    fn file(&self, reference: &BodyRef) -> Result<Arc<File>, BlobError> {
        if let Some(file) = self.open.lock().get(&reference.pack) {
            return Ok(file.clone());
        }
        if !is_name(reference) {
            return Err(BlobError::NotFound(reference.clone()));
        }
        let file = File::open(self.dir.join(&reference.pack)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => BlobError::NotFound(reference.clone()),
            _ => failed(&error),
        })?;
        let mut header = [0; PACK_HEADER_LEN];
        file.read_exact_at(&mut header, 0)
            .map_err(|error| error.to_string())
            .and_then(|()| entry::check_pack_header(&header))
            .map_err(|reason| BlobError::Damaged { reference: reference.clone(), reason })?;
        let file = Arc::new(file);
        self.open.lock().put(reference.pack.clone(), file.clone());
        Ok(file)
    }
}

fn failed(error: &io::Error) -> BlobError {
    BlobError::Unavailable(format!("the disk says: {error}"))
}
