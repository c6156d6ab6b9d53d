//! The Iceberg tables.
