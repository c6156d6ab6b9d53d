//! Services for tests: addresses of those that run, and own ones that a test may stop.
#![allow(clippy::unwrap_used, dead_code)]

pub mod proxy;
pub mod redis_server;

/// The address of a service, which whoever runs the ignored tests names in the environment.
pub fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("set {variable} to the address of the service to test with"))
}

/// A name that no other run uses.
pub fn unique(what: &str) -> String {
    format!("{what}-{}", ulid::Ulid::new().to_string().to_lowercase())
}
