//! Metrics in Prometheus' text format: what the ports count themselves, the core's figures, the
//! driver's figures, and cluster gauges. Both the names of the design and those that dashboards of
//! the predecessor read (prefix `persys_scheduler_`).

mod core;
mod driver;
pub mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::api::Api;
use text::Text;

/// What the predecessor's metrics begin with.
pub const LEGACY: &str = "persys_scheduler_";

/// Writes the driver's figures when they are asked for.
#[derive(Clone)]
pub struct DriverSource(Arc<dyn Fn(&mut Text) + Send + Sync>);

impl DriverSource {
    /// A source that calls `write` at every export.
    pub fn new(write: impl Fn(&mut Text) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }
}

impl fmt::Debug for DriverSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DriverSource")
    }
}

/// The metrics of the process. Cheap to clone; recording never waits.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    grpc_requests: IntCounterVec,
    grpc_seconds: HistogramVec,
    http_requests: IntCounterVec,
    http_seconds: HistogramVec,
    driver: Option<DriverSource>,
}

/// Upper bounds of durations of requests, seconds.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

impl Metrics {
    /// Metrics that have counted nothing.
    ///
    /// # Errors
    /// Two metrics have one name: a bug.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            let histogram = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(histogram.clone()))?;
            prometheus::Result::Ok(histogram)
        };
        Ok(Self {
            grpc_requests: counter(
                "persys_scheduler_grpc_server_requests_total",
                "gRPC calls that were answered, by full method and code.",
                &["method", "code"],
            )?,
            grpc_seconds: histogram(
                "persys_scheduler_grpc_server_request_duration_seconds",
                "How long gRPC calls took, to their last frame.",
                &["method", "code"],
            )?,
            http_requests: counter(
                "berth_http_requests_total",
                "HTTP requests that were answered, by method, route and status.",
                &["method", "route", "status"],
            )?,
            http_seconds: histogram(
                "berth_http_request_duration_seconds",
                "How long HTTP requests took, to the head of the answer.",
                &["method", "route"],
            )?,
            driver: None,
            registry,
        })
    }

    /// The same metrics with the driver's figures.
    #[must_use]
    pub fn with_driver(self, driver: Option<DriverSource>) -> Self {
        Self { driver, ..self }
    }

    /// Counts a gRPC call.
    pub(crate) fn grpc_request(&self, method: &str, code: &str, took: Duration) {
        self.grpc_requests.with_label_values(&[method, code]).inc();
        self.grpc_seconds
            .with_label_values(&[method, code])
            .observe(took.as_secs_f64());
    }

    /// Counts an HTTP request.
    pub(crate) fn http_request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.http_requests
            .with_label_values(&[method, route, &status])
            .inc();
        self.http_seconds
            .with_label_values(&[method, route])
            .observe(took.as_secs_f64());
    }

    /// Everything, in the text format.
    ///
    /// # Errors
    /// A metric cannot be written: a bug.
    pub fn export(&self, api: &Api) -> anyhow::Result<String> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        let mut text = Text::new(String::from_utf8(out)?);
        core::write_health(&mut text, &api.health().report());
        core::write_stats(&mut text, &api.core().stats());
        if let Some(DriverSource(write)) = &self.driver {
            write(&mut text);
        }
        Ok(text.finish())
    }
}
