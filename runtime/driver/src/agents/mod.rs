//! The agent client: every call is a task of its own, over pooled connections.

mod call;
mod pool;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use berth_core::io::{AgentCall, AgentError, AgentReply};
use berth_core::{CallId, Epoch};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use pool::{Connect, DirectConnect};
pub use status::{describe, go_code_name, had_connection};

use self::pool::Pool;
use crate::metrics::DriverMetrics;
use crate::store::LeaseGuard;

/// What came of a call.
#[derive(Debug)]
pub(crate) struct FromAgent {
    pub(crate) epoch: Epoch,
    pub(crate) call: CallId,
    pub(crate) result: Result<AgentReply, AgentError>,
}

/// Calls agents. The core bounds how many calls are in flight.
#[derive(Debug)]
pub(crate) struct AgentClient {
    connect: Arc<dyn Connect>,
    pool: Arc<Pool>,
    metrics: Arc<DriverMetrics>,
    results: mpsc::Sender<FromAgent>,
}

impl AgentClient {
    pub(crate) fn new(
        connect: Arc<dyn Connect>,
        metrics: Arc<DriverMetrics>,
        results: mpsc::Sender<FromAgent>,
    ) -> Self {
        Self {
            connect,
            pool: Arc::new(Pool::new()),
            metrics,
            results,
        }
    }

    /// Makes a call, unless the lease has run out; `cancel` ends it without an answer.
    pub(crate) fn call(&self, call: AgentCall, lease: LeaseGuard, cancel: CancellationToken) {
        let (connect, pool) = (Arc::clone(&self.connect), Arc::clone(&self.pool));
        let (metrics, results) = (Arc::clone(&self.metrics), self.results.clone());
        metrics.calls_in_flight.fetch_add(1, Relaxed);
        tokio::spawn(async move {
            let (id, epoch) = (call.id, call.epoch);
            let done = tokio::select! { biased;
                () = cancel.cancelled() => None,
                result = call::make(call, &pool, &*connect, &lease, &metrics) => Some(result),
            };
            metrics.calls_in_flight.fetch_sub(1, Relaxed);
            if let Some(result) = done {
                let answer = FromAgent {
                    epoch,
                    call: id,
                    result,
                };
                // The driver may have shut down.
                let _ = results.send(answer).await;
            }
        });
    }
}
