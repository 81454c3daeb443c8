//! What `berth dev` says: when it is ready and when it ends.

use std::net::SocketAddr;
use std::time::Duration;

use berth_agentd::RuntimeKind;
use serde::Serialize;

use super::args::{Output, RunArgs};
use super::cluster::{AgentInfo, CPU_MILLICORES, DISK_GB, MEMORY_MB};
use super::data::DataDir;

/// One line for programs.
#[derive(Debug, Serialize)]
struct Ready<'a> {
    http: String,
    grpc: String,
    http_addr: SocketAddr,
    grpc_addr: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    etcd_addr: Option<SocketAddr>,
    data_dir: &'a std::path::Path,
    pid: u32,
    ready_after_ms: u128,
    agents: Vec<AgentInfo>,
}

/// Says that the cluster is ready.
///
/// # Errors
/// Nobody reads.
pub(crate) fn print(
    args: &RunArgs,
    data: &DataDir,
    agents: Vec<AgentInfo>,
    (http, grpc): (SocketAddr, SocketAddr),
    etcd: Option<SocketAddr>,
    took: Duration,
) -> anyhow::Result<()> {
    let text = match args.output {
        Output::Json => serde_json::to_string(&Ready {
            http: format!("http://{http}"),
            grpc: format!("http://{grpc}"),
            http_addr: http,
            grpc_addr: grpc,
            etcd_addr: etcd,
            data_dir: data.path(),
            pid: std::process::id(),
            ready_after_ms: took.as_millis(),
            agents,
        })?,
        Output::Text => guide(args, data, &agents, (http, grpc), etcd, took),
    };
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, format!("{text}\n").as_bytes())?;
    std::io::Write::flush(&mut out)?;
    Ok(())
}

fn guide(
    args: &RunArgs,
    data: &DataDir,
    agents: &[AgentInfo],
    (http, grpc): (SocketAddr, SocketAddr),
    etcd: Option<SocketAddr>,
    took: Duration,
) -> String {
    let berth = program();
    let names: Vec<String> = agents.iter().map(|agent| agent.node.to_string()).collect();
    let nodes = match names.as_slice() {
        [first, .., last] if names.len() > 4 => format!("{first} to {last}"),
        names => names.join(", "),
    };
    let (cores, memory) = (CPU_MILLICORES / 1000, MEMORY_MB / 1024);
    let runtime = match args.runtime {
        RuntimeKind::Exec => "containers' commands run as real processes (--runtime exec)",
        RuntimeKind::Fake => "workloads of all kinds live in memory only (--runtime fake)",
    };
    let kept = match args.ephemeral {
        true => "gone at the end, and so is every process",
        false => "kept between runs",
    };
    let etcd = etcd.map_or_else(String::new, |etcd| {
        format!("  store   etcdctl --endpoints {etcd} get --prefix /\n")
    });
    let mut folder = String::new();
    if let Some(dir) = &args.data_dir {
        folder = format!(" --data-dir {}", dir.display());
    } else if args.ephemeral {
        folder = format!(" --data-dir {}", data.path().display());
    }
    let mut server = String::new();
    if format!("http://{http}") != berth_client::api::DEFAULT_SERVER {
        server = format!("  export BERTH_SERVER=http://{http}\n");
    }
    format!(
        "Berth is ready after {} ms.\n\
         \n\
         \x20 REST    http://{http}\n\
         \x20 gRPC    {grpc}\n\
         {etcd}\
         \x20 nodes   {nodes}: {cores} CPU, {memory} GiB of memory, {DISK_GB} GiB of disk each\n\
         \x20         {runtime}\n\
         \x20 data    {} ({kept})\n\
         \n\
         Try, in another terminal:\n\
         \n\
         {server}\
         \x20 {berth} apply -f examples/ten-processes.yaml --wait\n\
         \x20 {berth} get workloads\n\
         \x20 {berth} dev agent stop node-1{folder}    # a machine dies: see its workloads move\n\
         \n\
         By default a node is given up for lost after 90 s; --heartbeat-interval 1s and\n\
         --eviction-grace 2s make it 5 s. Ctrl-C ends Berth.",
        took.as_millis(),
        data.path().display(),
    )
}

/// Says what goes on after the end.
pub(crate) fn goodbye(args: &RunArgs, left: usize) {
    let folder = args.data_dir();
    let (berth, folder) = (program(), folder.display());
    let (processes, run, them) = match left {
        1 => ("process", "runs", "it"),
        _ => ("processes", "run", "them"),
    };
    eprintln!(
        "{left} {processes} of workloads {run} on; the next `berth dev` on {folder} takes {them} \
         over.\n`{berth} dev --data-dir {folder} --stop` stops {them}."
    );
}

/// What to type for this program: as it was called, when that was by a path.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if called.contains('/') {
        called
    } else {
        "berth".to_owned()
    }
}
