//! All settings, each exactly once.

use super::draft::Draft;
use super::form;

/// Who has a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Whoever talks to the store: the server, and an operator past it.
    Store,
    /// The server.
    Server,
    /// The core, wherever it runs: the server and `berth dev`.
    Core,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The flag without its dashes, and the key in the file.
    pub name: &'static str,
    /// Who has it.
    pub group: Group,
    /// The placeholder in the help.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
    pub(super) set: fn(&mut Draft, &str) -> form::Read<()>,
    pub(super) show: fn(&Draft) -> String,
}

impl Setting {
    /// The variable of the environment.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("BERTH_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    /// The default as one would write it; empty when there is none.
    #[must_use]
    pub fn default(&self) -> String {
        (self.show)(&Draft::default())
    }
}

macro_rules! setting {
    ($group:ident $name:literal $value:literal, $($field:ident).+, $read:expr, $show:expr, $help:literal) => {
        Setting {
            name: $name,
            group: Group::$group,
            value: $value,
            help: $help,
            set: |draft, text| {
                draft.$($field).+ = $read(text)?;
                Ok(())
            },
            show: |draft| $show(&draft.$($field).+),
        }
    };
}

macro_rules! duration {
    ($group:ident $name:literal, $($field:ident).+, $help:literal) => {
        setting!($group $name "DURATION", $($field).+, form::duration, show_duration, $help)
    };
}

macro_rules! grace {
    ($group:ident $name:literal, $($field:ident).+, $help:literal) => {
        setting!($group $name "DURATION", $($field).+, form::grace, show_duration, $help)
    };
}

macro_rules! number {
    ($group:ident $name:literal, $($field:ident).+, $range:expr, $help:literal) => {
        setting!(
            $group $name "NUMBER",
            $($field).+,
            |text| form::number(text, $range),
            ToString::to_string,
            $help
        )
    };
}

macro_rules! file {
    ($group:ident $name:literal, $field:ident, $help:literal) => {
        setting!(
            $group $name "FILE",
            $field,
            |text| form::path(text).map(Some),
            |path: &Option<std::path::PathBuf>| {
                path.as_ref().map_or_else(String::new, |path| path.display().to_string())
            },
            $help
        )
    };
}

// The signatures are those of the table.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn show_duration(time: &std::time::Duration) -> String {
    humantime::format_duration(*time).to_string()
}

/// All settings: the server's, then the core's.
#[must_use]
pub fn settings() -> Vec<Setting> {
    let mut all = ports();
    all.extend(limits());
    all.extend(core_times());
    all.extend(core_limits());
    all
}

fn ports() -> Vec<Setting> {
    vec![
        setting!(Store "etcd" "URLS", etcd, form::urls, |urls: &Vec<String>| urls.join(","),
            "Where etcd is: URLs, separated by commas"),
        file!(
            Store "etcd-ca",
            etcd_ca,
            "The authority of etcd's certificate; without it, the system's"
        ),
        file!(Store "etcd-cert", etcd_cert, "Our certificate for etcd"),
        file!(Store "etcd-key", etcd_key, "Its private key"),
        setting!(Store "prefix" "PATH", prefix, form::prefix, Clone::clone,
            "Put in front of every key in etcd"),
        duration!(Server "lease-ttl", lease_ttl,
            "How long the leadership outlives a leader that is not heard of; whole seconds"),
        grace!(Server "shutdown-delay", shutdown_delay,
            "How long a server that was told to end goes on serving, not ready, so that balancers notice"),
        setting!(Server "replica-id" "NAME", replica_id, form::replica, Clone::clone,
            "Tells replicas apart; without it, the host's name and the port of gRPC"),
        file!(
            Server "seen-file",
            seen_file,
            "Where it is remembered how far the store was seen, so that a restarted scheduler \
             notices a store that was restored meanwhile"
        ),
        setting!(Server "grpc-addr" "ADDRESS", grpc_addr, form::address, ToString::to_string,
            "Where gRPC listens; port 0 takes any that is free"),
        setting!(Server "advertise" "HOST:PORT", advertise, form::host_and_port, Clone::clone,
            "Where other replicas reach our gRPC; without it, where it listens, on every interface \
             by the host's name"),
        setting!(Server "http-addr" "ADDRESS", http_addr, form::address, ToString::to_string,
            "Where REST listens; port 0 takes any that is free"),
        setting!(Server "insecure" "BOOL", insecure, form::flag, ToString::to_string,
            "No TLS and no client certificates, neither on the ports nor to agents: for tests"),
        file!(
            Server "tls-ca",
            tls_ca,
            "The authority whose certificates clients and agents must show"
        ),
        file!(
            Server "tls-cert",
            tls_cert,
            "Our certificate for both ports and for calls to agents"
        ),
        file!(Server "tls-key", tls_key, "Its private key"),
        setting!(Server "log-format" "FORMAT", log.format, form::log_format,
            |format: &super::LogFormat| format.name().to_owned(), "Lines of the log: text or json"),
        setting!(Server "log-level" "LEVEL", log.level, form::log_level,
            |level: &super::LogLevel| level.name().to_owned(),
            "The least important lines of the log: error, warn, info, debug or trace"),
    ]
}

fn limits() -> Vec<Setting> {
    vec![
        number!(Server "requests-max", limits.requests_max, 1..=100_000,
            "Requests in flight per port; more are refused with a retry hint"),
        number!(Server "forwards-max", limits.forwards_max, 1..=100_000,
            "Requests on their way to the leader at once, from a replica that does not lead"),
        number!(Server "watchers-max", limits.watchers_max, 1..=100_000,
            "Clients that watch events at once"),
        number!(Server "connections-max", limits.connections_max, 1..=1_000_000,
            "Open connections per port"),
        duration!(Server "request-timeout", limits.request_timeout,
            "How long a client waits for an answer at most"),
        grace!(Server "drain-deadline", limits.drain_deadline,
            "How long a drain may take, unless it says otherwise; what is left then is moved at once"),
        number!(Server "drain-parallelism", limits.drain_parallelism, 1..=10_000,
            "Workloads that a drain moves at once, unless it says otherwise"),
    ]
}

fn core_times() -> Vec<Setting> {
    vec![
        duration!(Core "heartbeat-interval", core.heartbeat_interval,
            "How often agents heartbeat; told to them in whole seconds, rounded up"),
        number!(Core "heartbeats-missed-max", core.heartbeats_missed_max, 1..=1000,
            "Missed heartbeats after which a node is not ready"),
        grace!(Core "eviction-grace", core.eviction_grace,
            "How long a node may be not ready before its workloads are placed elsewhere"),
        grace!(Core "missing-grace", core.missing_grace,
            "How long an accepted apply may go without a trace before it counts as missing"),
        duration!(Core "pending-deadline", core.pending_deadline,
            "How long a workload may be pending on its node before it is applied again; as long once more, and it has failed"),
        duration!(Core "pending-deadline-vm", core.pending_deadline_vm,
            "The same for virtual machines"),
        duration!(Core "retry-backoff-min", core.retry_backoff_min,
            "The first wait after a failure; doubles with every further one"),
        duration!(Core "retry-backoff-max", core.retry_backoff_max, "The longest wait"),
        number!(Core "retry-attempts-max", core.retry_attempts_max, 1..=1000,
            "Failures until a workload is Failed, unless it says otherwise"),
        duration!(Core "stable-after", core.stable_after,
            "Running for this long forgets earlier failures"),
        duration!(Core "agent-call-timeout", core.agent_call_timeout,
            "Deadline of a status or listing call to an agent"),
        duration!(Core "apply-timeout", core.apply_timeout, "Deadline of an apply on an agent"),
        duration!(Core "apply-timeout-vm", core.apply_timeout_vm,
            "The same for virtual machines"),
        duration!(Core "delete-timeout", core.delete_timeout,
            "How long a deletion may take before it is asked for again"),
        duration!(Core "reconcile-interval", core.reconcile_interval, "The periodic pass"),
        duration!(Core "list-interval", core.list_interval,
            "How often a node is listed in full although nothing happened"),
        duration!(Core "confirm-interval-min", core.confirm_interval_min,
            "The first look after an accepted action; doubles with every further one"),
        duration!(Core "confirm-interval-max", core.confirm_interval_max,
            "The longest wait between two looks"),
        duration!(Core "heartbeat-flush-interval", core.heartbeat_flush_interval,
            "How often the times of last heartbeats are written to the store"),
        duration!(Core "runtime-exclusion", core.runtime_exclusion,
            "How long a node is avoided for a kind of workload that its runtime could not run"),
        duration!(Core "event-retention", core.event_retention, "Older events leave"),
        duration!(Core "forget-node-after", core.forget_node_after,
            "A lost node that holds nothing is forgotten after this, unless it is cordoned or drained"),
        grace!(Core "suggestion-cooldown", core.suggestion_cooldown,
            "A retry that an automation suggests is taken up at most this often per workload"),
    ]
}

fn core_limits() -> Vec<Setting> {
    vec![
        number!(Core "calls-max", core.calls_max, 1..=100_000, "Agent calls in flight at once"),
        number!(Core "calls-per-node-max", core.calls_per_node_max, 1..=1000,
            "Agent calls in flight to one node at once"),
        number!(Core "unreachable-after-failures", core.unreachable_after_failures, 1..=1000,
            "Failed calls in a row after which a node counts as unreachable"),
        number!(Core "evictions-per-second-max", core.evictions_per_second_max, 1..=1_000_000,
            "Workloads that are moved off lost nodes per second"),
        number!(Core "eviction-pause-percent", core.eviction_pause_percent, 1..=100,
            "Evictions pause when more than this share of the nodes is lost, in percent"),
        number!(Core "eviction-pause-nodes-min", core.eviction_pause_nodes_min, 1..=100_000,
            "... and at least this many nodes are"),
        number!(Core "events-max", core.events_max, 1..=10_000_000,
            "Events beyond this many leave, oldest first"),
        number!(Core "requests-waiting-max", core.requests_waiting_max, 1..=100_000,
            "Requests that may wait for one workload's transaction"),
    ]
}
