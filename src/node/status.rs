//! What a process tells of itself over HTTP: with the API, or by itself where there is none.

use std::net::SocketAddr;
use std::sync::Arc;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use millrace_api::{ServeOptions, Status};

use super::Node;
use super::health::Health;
use super::role::listen;

/// Seconds.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

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

/// Collects the metrics of this process, latencies as histograms in seconds.
fn metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?;
    let handle = builder.install_recorder()?;
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    metrics::gauge!("millrace_build_info", &labels).set(1.0);
    Ok(handle)
}
