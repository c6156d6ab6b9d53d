//! The files of a shard as its index sees them: those that are in objects, and for an owner a folder where new ones are
//! made. That folder need not outlive the process, so nothing in it is waited for to be on disk.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, FileSlice, Lock, MmapDirectory, TerminatingWrite,
    WatchCallback, WatchHandle, WritePtr,
};

use super::bundle::{self, Place};
use super::manifest::Object;

const META: &str = "meta.json";

#[derive(Clone)]
pub(super) struct ShardDirectory {
    /// The folder of objects.
    objects: MmapDirectory,
    files: Arc<RwLock<HashMap<PathBuf, Bundled>>>,
    kind: Kind,
}

#[derive(Clone)]
struct Bundled {
    object: Arc<str>,
    range: Range<usize>,
}

#[derive(Clone)]
enum Kind {
    /// `meta.json`, as its manifest has it.
    Reading(Arc<[u8]>),
    Writing {
        dir: MmapDirectory,
        path: Arc<Path>,
    },
}

impl std::fmt::Debug for ShardDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShardDirectory({:?})", self.objects)
    }
}

impl ShardDirectory {
    /// What a manifest names, to be searched.
    pub(super) fn reading(objects: MmapDirectory, meta: Vec<u8>) -> Self {
        Self { objects, files: Arc::default(), kind: Kind::Reading(meta.into()) }
    }

    /// An owner's, that makes new files in the folder `path`.
    pub(super) fn writing(objects: MmapDirectory, path: &Path) -> tantivy::Result<Self> {
        let dir = MmapDirectory::open(path)?;
        Ok(Self { objects, files: Arc::default(), kind: Kind::Writing { dir, path: path.into() } })
    }

    /// Shows the files of an object. One that cannot be used is dropped, to be fetched again: it was whole when it came.
    pub(super) fn add(&self, object: &str) -> io::Result<Vec<PathBuf>> {
        self.try_add(object).inspect_err(|_| {
            let _ = self.objects.delete(Path::new(object));
        })
    }

    fn try_add(&self, object: &str) -> io::Result<Vec<PathBuf>> {
        let slice = self.objects.open_read(Path::new(object)).map_err(io::Error::other)?;
        let places = bundle::read(&slice)?;
        let names = places.iter().map(|(name, _)| name.clone()).collect();
        self.show(object, places);
        Ok(names)
    }

    fn show(&self, object: &str, places: Vec<Place>) {
        let object: Arc<str> = object.into();
        let bundled = |(name, range)| (name, Bundled { object: object.clone(), range });
        self.files.write().extend(places.into_iter().map(bundled));
    }

    /// Makes an object of files in the owner's folder, and shows them from there.
    pub(super) fn bundle(&self, files: &[PathBuf], target: &Path, name: String) -> io::Result<Object> {
        let folder = self.folder()?;
        let (object, places) = bundle::write(folder, files, target, name)?;
        self.show(&object.name, places);
        for file in files {
            // Whoever has it open keeps it.
            let _ = std::fs::remove_file(folder.join(file));
        }
        Ok(object)
    }

    /// The object that a file is in.
    pub(super) fn object_of(&self, file: &Path) -> Option<Arc<str>> {
        self.files.read().get(file).map(|bundled| bundled.object.clone())
    }

    /// Whether a file is in the owner's folder only.
    pub(super) fn is_unbundled(&self, file: &Path) -> bool {
        self.object_of(file).is_none() && self.folder().is_ok_and(|folder| folder.join(file).exists())
    }

    /// The objects that the index still needs files of.
    pub(super) fn objects(&self) -> HashSet<Arc<str>> {
        self.files.read().values().map(|bundled| bundled.object.clone()).collect()
    }

    fn folder(&self) -> io::Result<&Path> {
        match &self.kind {
            Kind::Writing { path, .. } => Ok(path),
            Kind::Reading(_) => Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "only its owner writes a shard")),
        }
    }
}

impl Directory for ShardDirectory {
    fn get_file_handle(&self, file: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let bundled = self.files.read().get(file).cloned();
        if let Some(bundled) = bundled {
            let object: FileSlice = self.objects.open_read(Path::new(&*bundled.object))?;
            return Ok(Arc::new(object.slice(bundled.range)));
        }
        match &self.kind {
            Kind::Writing { dir, .. } => dir.get_file_handle(file),
            Kind::Reading(_) => Err(OpenReadError::FileDoesNotExist(file.to_owned())),
        }
    }

    fn exists(&self, file: &Path) -> Result<bool, OpenReadError> {
        if self.files.read().contains_key(file) {
            return Ok(true);
        }
        match &self.kind {
            Kind::Writing { dir, .. } => dir.exists(file),
            Kind::Reading(_) => Ok(file == Path::new(META)),
        }
    }

    fn delete(&self, file: &Path) -> Result<(), DeleteError> {
        if self.files.write().remove(file).is_some() {
            return Ok(());
        }
        match &self.kind {
            Kind::Writing { dir, .. } => dir.delete(file),
            Kind::Reading(_) => Err(DeleteError::FileDoesNotExist(file.to_owned())),
        }
    }

    fn open_write(&self, file: &Path) -> Result<WritePtr, OpenWriteError> {
        let folder = self.folder().map_err(|error| OpenWriteError::wrap_io_error(error, file.to_owned()))?;
        let created = std::fs::OpenOptions::new().write(true).create_new(true).open(folder.join(file));
        match created {
            Ok(created) => Ok(WritePtr::new(Box::new(NewFile(created)))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(OpenWriteError::FileAlreadyExists(file.to_owned()))
            }
            Err(error) => Err(OpenWriteError::wrap_io_error(error, file.to_owned())),
        }
    }

    fn atomic_read(&self, file: &Path) -> Result<Vec<u8>, OpenReadError> {
        match &self.kind {
            Kind::Writing { dir, .. } => dir.atomic_read(file),
            Kind::Reading(meta) if file == Path::new(META) => Ok(meta.to_vec()),
            Kind::Reading(_) => Err(OpenReadError::FileDoesNotExist(file.to_owned())),
        }
    }

    fn atomic_write(&self, file: &Path, data: &[u8]) -> io::Result<()> {
        let path = self.folder()?.join(file);
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, data)?;
        std::fs::rename(temporary, path)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        match &self.kind {
            Kind::Writing { dir, .. } => dir.acquire_lock(lock),
            // Nothing changes, so there is nothing to be locked out of.
            Kind::Reading(_) => Ok(DirectoryLock::from(Box::new(()))),
        }
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

/// A file that need not be on disk yet when it is complete.
struct NewFile(std::fs::File);

impl Write for NewFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl TerminatingWrite for NewFile {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.0.flush()
    }
}
