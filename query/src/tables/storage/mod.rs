//! Where the files of tables are: on a local disk, or in a bucket that many processes share. Both are durable before
//! they are named anywhere, and a file is never written twice.

mod local;
mod objects;
mod put;

use std::sync::Arc;

use iceberg::io::FileIO;

pub(super) use self::local::create_folders_synced;
pub(crate) use self::objects::Objects;

/// Access to the files of tables. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    Local,
    Objects(Objects),
}

/// A file of a table is where this process does not read.
#[derive(Debug, thiserror::Error)]
#[error("{location} is not {place}, where the files of tables are; give the same warehouse to all processes")]
pub struct Elsewhere {
    location: String,
    place: String,
}

impl Files {
    /// The form that the `iceberg` crate reads and writes through.
    pub(super) fn io(&self) -> FileIO {
        match self {
            Files::Local => local::file_io(),
            Files::Objects(objects) => objects.file_io(),
        }
    }

    /// What a location of Iceberg is called here: a path of the disk, or a key of the bucket.
    pub(super) fn path(&self, location: &str) -> Result<Arc<str>, Elsewhere> {
        match self {
            Files::Local => Ok(local::local_path(location).to_string_lossy().into()),
            Files::Objects(objects) => Ok(objects.key(location)?.as_ref().into()),
        }
    }
}
