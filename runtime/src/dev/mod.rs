//! `berth dev`: a whole cluster in one process, on loopback, kept between runs.

mod args;
mod cluster;
mod control;
mod data;
mod guide;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use berth_core::io::request::{NodeFilter, Query, Request, Response};
use berth_core::model::node::NodeStatus;
use berth_driver::CoreHandle;
use berth_server::ServerConfig;
use berth_store::EmbeddedStore;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

pub(crate) use args::DevArgs;

use self::args::{DevCommand, RunArgs};
use self::cluster::Cluster;
use self::control::Control;
use self::data::DataDir;
use crate::logging;
use crate::signals::Signals;

/// How long the cluster may take to become ready; it takes a fraction of a second.
const READY_MAX: Duration = Duration::from_secs(30);

/// Runs `berth dev` and what belongs to it.
///
/// # Errors
/// A data folder that is in use, ports that are taken, a fault.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    match args.command {
        Some(DevCommand::Agent(command)) => control::agent(command).await,
        None if args.run.stop => stop(&args.run).await,
        None => serve(args.run).await,
    }
}

/// `berth dev --stop`: ends a `berth dev` that runs there, and every process of its workloads.
async fn stop(args: &RunArgs) -> anyhow::Result<()> {
    let path = args.data_dir();
    if !path.is_dir() {
        bail!("there is no data folder {}", path.display());
    }
    let data = match DataDir::lock(&path) {
        Ok(data) => data,
        Err(_) => {
            // The answer may not come: the process ends over it.
            control::shut_down(&path).await?;
            data::wait_for_lock(&path, READY_MAX).await?
        }
    };
    let mut stopped = 0;
    for node in data.nodes()? {
        stopped += cluster::stop_processes(&data.agent_dir(&node)).await?;
    }
    println!("stopped {stopped} processes of workloads; the next `berth dev` starts them again");
    Ok(())
}

/// The cluster, from its start to its end.
async fn serve(args: RunArgs) -> anyhow::Result<()> {
    logging::init(&args.log, LevelFilter::WARN)?;
    args.check()?;
    let begin = Instant::now();
    // Taken before anything is started, so that no signal leaves something behind.
    let mut signals = Signals::take()?;
    let config = args.server_config()?;
    let data = DataDir::open(&args)?;
    let store = open_store(&data, &args).await?;
    let etcd = match args.etcd_addr {
        Some(address) => Some(store.serve_tcp(address).await?),
        None => None,
    };
    let shutdown = CancellationToken::new();
    let scheduler = start_scheduler(config, &store, shutdown.clone()).await?;
    let (core, ports) = (scheduler.core.clone(), (scheduler.http, scheduler.grpc));
    let mut scheduler = tokio::spawn(scheduler.finished());
    let cluster = Cluster::new(&args, &data, ports.1).await?;
    let asked = CancellationToken::new();
    let control = Control::serve(&data, Arc::clone(&cluster), asked.clone())?;

    let ready_then_quiet = async {
        wait_leading(&core).await?;
        cluster.start_all().await?;
        wait_ready(&core, &cluster).await?;
        let took = begin.elapsed();
        guide::print(&args, &data, cluster.list().await, ports, etcd, took)?;
        store.stopped().await;
        bail!("the embedded store stopped: see the log")
    };
    let outcome = tokio::select! {
        ended = &mut scheduler => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("the scheduler ended by itself")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
        failed = ready_then_quiet => failed,
        () = asked.cancelled() => Ok(()),
        _ = signals.next() => Ok(()),
    };
    signals.no_patience();
    drop(control);
    cluster.stop_all().await;
    shutdown.cancel();
    if !scheduler.is_finished() {
        scheduler.await??;
    }
    store.shutdown().await;
    finish(&args, &data, asked.is_cancelled()).await?;
    outcome
}

/// What is left when everything has ended: processes that go on, or not. Whoever asked for the
/// end by `--stop` is not told about those that it stops next.
async fn finish(args: &RunArgs, data: &DataDir, to_be_stopped: bool) -> anyhow::Result<()> {
    let mut left = 0;
    for node in data.nodes()? {
        let folder = data.agent_dir(&node);
        if args.ephemeral {
            cluster::stop_processes(&folder).await?;
        } else {
            left += berth_agentd::leftovers(&folder).len();
        }
    }
    if left > 0 && !to_be_stopped {
        guide::goodbye(args, left);
    }
    Ok(())
}

async fn open_store(data: &DataDir, args: &RunArgs) -> anyhow::Result<EmbeddedStore> {
    let folder = data.store_dir();
    let store = match args.ephemeral {
        true => EmbeddedStore::open(None)?,
        false => EmbeddedStore::open(Some(&folder))?,
    };
    // The folder is ours alone: what a former run held is held by nobody.
    store.revoke_all_leases().await?;
    Ok(store)
}

/// The scheduler of `berth server`, over the embedded store instead of etcd.
async fn start_scheduler(
    config: ServerConfig,
    store: &EmbeddedStore,
    shutdown: CancellationToken,
) -> anyhow::Result<berth_server::Running> {
    let channel = store.channel();
    let factory = move || {
        let channel = channel.clone();
        async move { etcd_client::Client::from_channel(channel, None).await }
    };
    berth_server::start(config, factory, shutdown)
        .await
        .context(
            "the scheduler cannot start; if another `berth dev` runs, --http-addr 127.0.0.1:0 and \
         --grpc-addr 127.0.0.1:0 take any free port",
        )
}

/// Polls until it leads.
async fn wait_leading(core: &CoreHandle) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !core.health().leading {
        if begin.elapsed() > READY_MAX {
            bail!("the scheduler does not lead: {}", core.health().store_error);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Polls until every agent of this run is registered and ready.
async fn wait_ready(core: &CoreHandle, cluster: &Cluster) -> anyhow::Result<()> {
    let begin = Instant::now();
    let wanted = cluster.endpoints().await;
    loop {
        let request = Request::Read(Query::Nodes(NodeFilter::default()));
        let ready = match core.request(request).await {
            Ok(Response::Nodes { nodes, .. }) => wanted.iter().all(|(node, endpoint)| {
                nodes.iter().any(|view| {
                    view.record.id == *node
                        && view.record.agent_endpoint == *endpoint
                        && view.record.status != NodeStatus::NotReady
                })
            }),
            Ok(_) | Err(_) => false,
        };
        if ready {
            return Ok(());
        }
        if begin.elapsed() > READY_MAX {
            bail!("the agents did not register; --log-level info says more");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
