//! Stages over stores in memory, and a name server.
#![allow(dead_code)]

pub mod dns;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use millrace_storage::first_seen::FirstSeenError;
use millrace_storage::{BlobError, BlobStore, BodyRef, Claim, FirstSeen};
use millrace_udfs::{Dns, StageOptions, Stages};
use parking_lot::Mutex;

#[derive(Default)]
pub struct Memory {
    pub bodies: Mutex<HashMap<String, Bytes>>,
    claims: Mutex<HashMap<[u8; 32], String>>,
    /// Reads that fail before one succeeds.
    pub failures: AtomicUsize,
}

#[async_trait]
impl BlobStore for Memory {
    async fn put(&self, body: Bytes) -> Result<BodyRef, BlobError> {
        let mut bodies = self.bodies.lock();
        let reference =
            BodyRef { pack: format!("2026-11-23/{:0>26}.pack", bodies.len()), offset: 0, length: body.len() as u64 };
        bodies.insert(reference.to_string(), body);
        Ok(reference)
    }

    async fn get(&self, reference: &BodyRef) -> Result<Bytes, BlobError> {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.fetch_sub(1, Ordering::Relaxed);
            return Err(BlobError::Unavailable("the store is away".to_owned()));
        }
        let body = self.bodies.lock().get(&reference.to_string()).cloned();
        let body = body.ok_or_else(|| BlobError::NotFound(reference.clone()))?;
        if body.starts_with(b"damaged") {
            return Err(BlobError::Damaged { reference: reference.clone(), reason: "checksum".to_owned() });
        }
        Ok(body)
    }
}

#[async_trait]
impl FirstSeen for Memory {
    async fn claim(&self, key: [u8; 32], claimant: &str, _: i64) -> Result<Claim, FirstSeenError> {
        if self.failures.load(Ordering::Relaxed) > 0 {
            return Err(FirstSeenError("the store is away".to_owned()));
        }
        let mut claims = self.claims.lock();
        let first = claims.entry(key).or_insert_with(|| claimant.to_owned());
        Ok(if first == claimant { Claim::First } else { Claim::Taken(first.clone()) })
    }

    async fn expire(&self, _: i64) -> Result<u64, FirstSeenError> {
        Ok(0)
    }
}

pub fn stages(dns: Dns) -> (Stages, Arc<Memory>) {
    let memory = Arc::new(Memory::default());
    let options = StageOptions { blobs: memory.clone(), first_seen: memory.clone(), dns, rules_dir: None };
    (Stages::new(options).expect("the built-in rules and model are right"), memory)
}
