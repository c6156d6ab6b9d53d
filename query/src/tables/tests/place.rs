//! Where the tables of a test are.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::TempDir;
use uuid::Uuid;

use crate::tables::catalog::{PointerCatalog, PostgresOptions, Rest, RestOptions, Sqlite};
use crate::tables::storage::{Files, Objects};
use crate::tables::{CatalogOptions, SharedTables, TableOptions, Tables};

/// Every [`Place::open`] is what another process would have.
pub(in crate::tables) enum Place {
    /// SQLite and a folder.
    Local(TempDir),
    /// SQLite and objects in memory.
    Objects(TempDir, Arc<dyn ObjectStore>),
    /// A namespace and a prefix of their own, behind this URL.
    Rest {
        url: String,
        name: String,
        store: Arc<dyn ObjectStore>,
    },
    Shared {
        catalog: CatalogOptions,
        store: Arc<dyn ObjectStore>,
        warehouse: String,
    },
}

fn options() -> TableOptions {
    TableOptions { buckets: 4, cache_bytes: 1 << 20, file_cache_bytes: 1 << 20 }
}

pub(in crate::tables) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set: see compose/native/test"))
}

impl Place {
    pub(in crate::tables) fn local() -> Self {
        Place::Local(tempfile::tempdir().unwrap())
    }

    pub(in crate::tables) fn objects() -> Self {
        Place::objects_in(Arc::new(InMemory::new()))
    }

    pub(in crate::tables) fn objects_in(store: Arc<dyn ObjectStore>) -> Self {
        Place::Objects(tempfile::tempdir().unwrap(), store)
    }

    /// A schema and a prefix of their own.
    pub(in crate::tables) async fn postgres() -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let url = variable("MILLRACE_TEST_POSTGRES");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("CREATE SCHEMA {name}")).await.unwrap();
        let url = format!("{url}?options=-c%20search_path%3D{name}");
        let catalog = CatalogOptions::Postgres(PostgresOptions { url, password: None, ca_file: None });
        Place::Shared { catalog, store: s3(), warehouse: format!("s3://millrace/{name}/warehouse") }
    }

    pub(in crate::tables) fn rest() -> Self {
        Place::rest_at(variable("MILLRACE_TEST_ICEBERG_REST"))
    }

    pub(in crate::tables) fn rest_at(url: String) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        Place::Rest { url, name, store: s3() }
    }

    /// The same database, which knows our sessions by this name.
    pub(in crate::tables) fn known_as(mut self, name: &str) -> Self {
        if let Place::Shared { catalog: CatalogOptions::Postgres(options), .. } = &mut self {
            options.url = format!("{}&application_name={name}", options.url);
        }
        self
    }

    /// The same database at another address.
    pub(in crate::tables) fn through(mut self, address: SocketAddr) -> Self {
        if let Place::Shared { catalog: CatalogOptions::Postgres(options), .. } = &mut self {
            let (before, path) = options.url.rsplit_once('/').unwrap();
            let user = before.rsplit_once('@').unwrap().0;
            options.url = format!("{user}@{address}/{path}");
        }
        self
    }

    pub(in crate::tables) async fn open(&self) -> Arc<Tables> {
        let opened = match self {
            Place::Local(dir) => Tables::open(dir.path(), options()).await,
            Place::Objects(dir, store) => {
                let files = Files::Objects(Objects::of_location("s3://test/a", store.clone()).unwrap());
                let sqlite = Sqlite::open(&dir.path().join("catalog.db")).unwrap();
                let catalog = Arc::new(PointerCatalog::new(sqlite, files.io()));
                Tables::open_with(catalog, files, "s3://test/a/warehouse".to_owned(), options()).await
            }
            Place::Rest { url, name, store } => {
                let location = format!("s3://millrace/{name}/warehouse");
                let files = Files::Objects(Objects::of_location(&location, store.clone()).unwrap());
                let options_of_rest = RestOptions { url: url.clone(), token: None, ca_file: None };
                let catalog = Rest::open_namespace(options_of_rest, name).await.unwrap();
                Tables::open_with(Arc::new(catalog), files, location, options()).await
            }
            Place::Shared { catalog, store, warehouse } => {
                let (catalog, store, warehouse) = (catalog.clone(), store.clone(), warehouse.clone());
                Tables::open_shared(SharedTables { catalog, store, warehouse }, options()).await
            }
        };
        opened.unwrap()
    }

    /// The names of the files in a folder, given by its location.
    pub(in crate::tables) async fn list(&self, location: &str) -> Vec<String> {
        match self {
            Place::Local(_) => {
                let files = std::fs::read_dir(location.strip_prefix("file://").unwrap()).unwrap();
                files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
            }
            Place::Objects(_, store) | Place::Rest { store, .. } | Place::Shared { store, .. } => {
                let prefix = Path::parse(location.splitn(4, '/').nth(3).unwrap()).unwrap();
                let found: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
                found.iter().map(|meta| meta.location.filename().unwrap().to_owned()).collect()
            }
        }
    }

    /// The size of a data file.
    pub(in crate::tables) async fn size(&self, path: &str) -> u64 {
        match self {
            Place::Local(_) => std::fs::metadata(path).unwrap().len(),
            Place::Objects(_, store) | Place::Rest { store, .. } | Place::Shared { store, .. } => {
                store.head(&Path::parse(path).unwrap()).await.unwrap().size
            }
        }
    }
}

pub(in crate::tables) fn s3() -> Arc<dyn ObjectStore> {
    let store = AmazonS3Builder::new()
        .with_endpoint(variable("MILLRACE_TEST_S3"))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("millrace")
        .with_access_key_id(variable("MILLRACE_TEST_S3_KEY"))
        .with_secret_access_key(variable("MILLRACE_TEST_S3_SECRET"));
    Arc::new(store.build().unwrap())
}
