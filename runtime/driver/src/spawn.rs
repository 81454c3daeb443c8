//! Starts the driver and ends it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use berth_core::Scheduler;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::agents::AgentClient;
use crate::config::DriverConfig;
use crate::dispatch::Dispatcher;
use crate::drive::CoreLoop;
use crate::handle::{CoreHandle, DriverHealth, Image};
use crate::inbox::{Inbox, Turns};
use crate::store::{LeaderRecord, Memory, Reporter, StoreFactory, StoreTask};

/// Answers of the store that may wait for the core.
const ANSWERS_MAX: usize = 4_096;
/// Results of agent calls that may wait for the core.
const RESULTS_MAX: usize = 1_024;
/// Changes of the store that may wait for the core.
const CHANGES_MAX: usize = 1_024;

/// The driver.
#[derive(Debug)]
pub struct Driver;

/// Why the driver ended other than by being shut down.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The core or the loop panicked: a fault of ours. The process should end, so that another
    /// replica leads.
    #[error("the scheduler failed: {0}")]
    Core(String),
    /// The store client panicked: a fault of ours.
    #[error("the store client failed: {0}")]
    Store(String),
}

/// Waits for the driver's end.
#[derive(Debug)]
pub struct DriverJoin {
    core: JoinHandle<()>,
    store: JoinHandle<()>,
}

impl DriverJoin {
    /// Waits until the driver has been shut down and leadership was given up. To be awaited beside
    /// the rest of the process, too: it returns early when the driver failed.
    ///
    /// # Errors
    /// When a part of the driver panicked.
    pub async fn join(self) -> Result<(), DriverError> {
        let (mut core, mut store) = (self.core, self.store);
        let of_core = |error: JoinError| DriverError::Core(error.to_string());
        let of_store = |error: JoinError| DriverError::Store(error.to_string());
        tokio::select! { biased;
            ended = &mut core => {
                // Leadership is given up even then.
                let given_up = store.await.map_err(of_store);
                ended.map_err(of_core)?;
                given_up
            }
            ended = &mut store => {
                ended.map_err(of_store)?;
                core.await.map_err(of_core)
            }
        }
    }
}

impl Driver {
    /// Starts the core's loop and the store client. To be called inside a tokio runtime; returns
    /// at once, before anything is known of the store.
    #[must_use]
    pub fn spawn(config: DriverConfig, factory: impl StoreFactory) -> (CoreHandle, DriverJoin) {
        let (submit, submissions) = mpsc::channel(config.submissions_max.max(1));
        let (answered, answers) = mpsc::channel(ANSWERS_MAX);
        let (called, agents) = mpsc::channel(RESULTS_MAX);
        let (changed, changes) = mpsc::channel(CHANGES_MAX);
        let (led, leadership) = mpsc::channel(4);
        let (events, _) = broadcast::channel(config.events_buffered.max(1));
        let (health, health_seen) = watch::channel(DriverHealth::default());
        let scheduler = Scheduler::new(config.core);
        let (stats, stats_seen) = watch::channel(Arc::new(scheduler.stats()));
        let (image, image_seen) = watch::channel(Image::default());
        let health = Reporter::new(health);
        let stop = CancellationToken::new();

        let agent_client = AgentClient::new(config.agents, Arc::clone(&config.metrics), called);
        let metrics = Arc::clone(&config.metrics);
        let core = CoreLoop {
            scheduler,
            clock: config.clock,
            inbox: Inbox {
                answers,
                agents,
                changes,
                leadership,
                submissions,
                turns: Turns::default(),
            },
            dispatcher: Dispatcher::new(agent_client, events.clone(), Arc::clone(&metrics)),
            round: None,
            stats,
            image,
            health: health.clone(),
            metrics: Arc::clone(&metrics),
            shutdown: config.shutdown,
            shutdown_grace: config.shutdown_grace,
        };
        let memory = Memory::open(config.store.seen_file.clone(), &config.store.prefix);
        let (factory, store_config) = (Arc::new(factory), Arc::new(config.store));
        let leaders = LeaderRecord {
            factory: factory.clone(),
            config: Arc::clone(&store_config),
        };
        let store = StoreTask {
            factory,
            config: store_config,
            replica: config.replica,
            metrics,
            health,
            leadership: led,
            answers: answered,
            changes: changed,
            stop: stop.clone(),
            rounds: AtomicU64::new(0),
            memory,
        };
        // However the loop ends, even by a panic, leadership is given up then.
        let give_up = stop.drop_guard();
        let core = tokio::spawn(async move {
            let _give_up = give_up;
            core.run().await;
        });
        let store = tokio::spawn(store.run());
        let handle = CoreHandle::new(submit, events, stats_seen, health_seen)
            .over(image_seen)
            .with_leaders(Arc::new(leaders));
        (handle, DriverJoin { core, store })
    }
}
