//! How long requests take and how they end, as metrics: over HTTP and over WebSocket, in one place.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

/// Requests for what is not there are told together: paths are made up by clients without end.
const NO_ROUTE: &str = "none";

/// Of one request. One that is dropped without an end is one whose client has gone.
pub(crate) struct Timing {
    /// As the router has it, without what a client put into it.
    route: String,
    begun: Instant,
    status: Option<StatusCode>,
}

impl Timing {
    pub(crate) fn begin(route: impl Into<String>) -> Self {
        Self { route: route.into(), begun: Instant::now(), status: None }
    }

    pub(crate) fn end(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        let route = std::mem::take(&mut self.route);
        if let Some(status) = self.status {
            let labels = [("route", route.clone()), ("status", status.as_str().to_owned())];
            metrics::counter!("millrace_api_responses_total", &labels).increment(1);
        }
        let labels = [("route", route), ("result", self.status.map_or("gone", class).to_owned())];
        metrics::histogram!("millrace_api_request_seconds", &labels).record(self.begun.elapsed());
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Times a request until its response begins.
pub(crate) async fn timed(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str);
    let timing = Timing::begin(route);
    let response = next.run(request).await;
    timing.end(response.status());
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware;
    use axum::routing::get;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt;

    use super::*;

    async fn ask(path: &str) -> Option<StatusCode> {
        let router = Router::new()
            .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }))
            .route("/of/{account}", get(|| async { StatusCode::UNAUTHORIZED }))
            .fallback(|| async { StatusCode::NOT_FOUND })
            .layer(middleware::from_fn(timed));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = tokio::time::timeout(Duration::from_millis(50), router.oneshot(request)).await;
        response.ok().map(|response| response.unwrap().status())
    }

    #[tokio::test]
    async fn every_end_of_a_request_is_counted_by_its_route() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _local = metrics::set_default_local_recorder(&recorder);
        assert_eq!(ask("/of/ann").await, Some(StatusCode::UNAUTHORIZED));
        assert_eq!(ask("/made/up").await, Some(StatusCode::NOT_FOUND));
        assert_eq!(ask("/slow").await, None);
        let rendered = recorder.handle().render();
        for expected in [
            r#"millrace_api_responses_total{route="/of/{account}",status="401"} 1"#,
            r#"millrace_api_responses_total{route="none",status="404"} 1"#,
            r#"millrace_api_request_seconds_count{route="/of/{account}",result="4xx"} 1"#,
            r#"millrace_api_request_seconds_count{route="none",result="4xx"} 1"#,
            r#"millrace_api_request_seconds_count{route="/slow",result="gone"} 1"#,
        ] {
            assert!(rendered.contains(expected), "{expected}\n{rendered}");
        }
    }
}
