//! What a process tells of itself over HTTP: with the API, or by itself where there is none.

use std::net::SocketAddr;
use std::sync::Arc;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use millrace_api::{ServeOptions, Status};

use super::Node;
use super::health::Health;
use super::role::listen;

/// Seconds: from a command of Redis to a landing that waits for a catalog that is away.
const SECONDS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0];

/// Records, rows and requests of a batch.
const COUNTS: [f64; 10] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0];
const BYTES: [f64; 8] = [1e3, 1e4, 1e5, 1e6, 4e6, 1.6e7, 6.4e7, 2.56e8];
/// By the end of the names of histograms.
const BUCKETS: [(&str, &[f64]); 5] =
    [("_seconds", &SECONDS), ("_records", &COUNTS), ("_rows", &COUNTS), ("_requests", &COUNTS), ("_bytes", &BYTES)];

/// Watches the node's health and collects its metrics.
pub fn status(node: &Arc<Node>) -> anyhow::Result<Arc<Status>> {
    let health = Arc::new(Health::default());
    node.spawn("health", health.clone().watch(node.clone(), node.edges.clone()));
    Ok(Arc::new(Status { metrics: Some(metrics()?), readiness: Box::new(move || health.verdict()) }))
}

/// Serves health and metrics alone.
pub async fn serve(node: &Arc<Node>) -> anyhow::Result<(&'static str, SocketAddr)> {
    let (listener, address) = listen("http", node.config.http.listen).await?;
    let (router, shutdown) = (millrace_api::status::router(status(node)?), node.edges.clone());
    node.spawn("status", async move {
        millrace_api::serve(listener, router, ServeOptions::default(), shutdown).await;
        Ok(())
    });
    Ok(("http", address))
}

/// Collects the metrics of this process, latencies and sizes as histograms.
fn metrics() -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (suffix, buckets) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), buckets)?;
    }
    let handle = builder.install_recorder()?;
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    metrics::gauge!("millrace_build_info", &labels).set(1.0);
    Ok(handle)
}
