//! `berth get`: lists and single records.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::EventRecord;
use berth_core::io::request::Freshness;
use berth_core::io::view::{NodeView, WorkloadView};
use berth_core::{NodeId, TenantId, Timestamp};
use clap::Args;
use serde_yaml_ng::Value;

use super::list::{self, Page};
use super::{Format, Kind, Session, freshness};
use crate::api::Connection;
use crate::exit::{Exit, Failure};
use crate::output::table::{Cell, Table};
use crate::output::text;

/// Arguments of `berth get`.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// What to list
    #[arg(value_enum)]
    pub kind: Kind,
    /// Only this one
    pub id: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Go on and print what changes
    #[arg(short, long)]
    pub watch: bool,
    /// With --watch: how often to look
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Only workloads assigned to this node, or events about it
    #[arg(long)]
    pub node: Option<NodeId>,
    /// Only those with this status
    #[arg(long)]
    pub status: Option<String>,
    /// Only workloads of this tenant
    #[arg(long)]
    pub tenant: Option<TenantId>,
    /// Ask the leader: the answer has every write that was acknowledged before
    #[arg(long)]
    pub strong: bool,
    /// At most this many
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub limit: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

impl GetArgs {
    fn path(&self) -> &'static str {
        match self.kind {
            Kind::Workloads => "workloads",
            Kind::Nodes => "nodes",
            Kind::Events => "events",
        }
    }

    fn limit(&self) -> Option<usize> {
        self.limit.and_then(|limit| usize::try_from(limit).ok())
    }

    /// The filters as a query; a filter that the list does not have is a mistake, not ignored.
    fn query(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let refuse = |flag: &str| {
            let message = format!("--{flag} does not apply to `get {}`", self.path());
            Err(Failure::new(Exit::Usage, message))
        };
        let mut query = Vec::new();
        if let Some(node) = &self.node {
            if self.kind == Kind::Nodes {
                return refuse("node");
            }
            query.push(("node", node.to_string()));
        }
        if let Some(status) = &self.status {
            if self.kind == Kind::Events {
                return refuse("status");
            }
            query.push(("status", status.clone()));
        }
        if let Some(tenant) = &self.tenant {
            if self.kind != Kind::Workloads {
                return refuse("tenant");
            }
            query.push(("tenant", tenant.to_string()));
        }
        Ok(query)
    }
}

/// Runs `berth get`.
///
/// # Errors
/// Those of the requests; wrong combinations of flags.
pub async fn run(session: &mut Session<'_>, args: &GetArgs) -> Result<(), Failure> {
    let query = args.query()?;
    if args.strong {
        session.api.read_strongly();
    }
    if args.kind == Kind::Events && (args.watch || args.id.is_some()) {
        let message = "`get events` takes no id and no --watch";
        return Err(Failure::new(Exit::Usage, message)
            .hint("`berth events --follow` follows; --workload and --node narrow"));
    }
    if matches!(args.output, Format::Json | Format::Yaml) {
        if args.watch {
            let message = "--watch prints tables; -o json and -o yaml cannot go with it";
            return Err(Failure::new(Exit::Usage, message));
        }
        let value: Value = match &args.id {
            Some(id) => session.api.read(&[args.path(), id], &[]).await?,
            None if args.kind == Kind::Events => events_raw(session, args, &query).await?,
            None => list::raw(session, args.path(), &query, args.limit()).await?,
        };
        return list::print_raw(session, &value, args.output == Format::Yaml);
    }
    let wide = args.output == Format::Wide;
    match args.kind {
        Kind::Workloads => tables(session, args, &query, &Workloads { wide }).await,
        Kind::Nodes => tables(session, args, &query, &Nodes { wide }).await,
        Kind::Events => {
            let limit = args.limit().unwrap_or(100);
            let mut query = query;
            query.push(("limit", limit.to_string()));
            let page: Page<EventRecord> = session.api.read(&["events"], &query).await?;
            super::events::print_table(session, &page.items)
        }
    }
}

async fn events_raw(
    session: &Session<'_>,
    args: &GetArgs,
    query: &[(&'static str, String)],
) -> Result<Value, Failure> {
    let mut query = query.to_vec();
    query.push(("limit", args.limit().unwrap_or(100).to_string()));
    session.api.read(&["events"], &query).await
}

/// What to do when there are no nodes.
pub(super) const NO_NODES: &str = "start some with `berth agent`";

/// How records of a kind become rows.
trait Rows {
    type Record: serde::de::DeserializeOwned;
    /// What to do when there are none.
    const IF_NONE: &'static str;
    fn headings(&self) -> Vec<&'static str>;
    fn id(record: &Self::Record) -> String;
    fn cells(&self, record: &Self::Record, now: Timestamp) -> Vec<Cell>;
    fn freshness(record: &Self::Record) -> Freshness;
    /// What must differ for a record to be printed again by `--watch`: the row without its ages.
    fn mark(&self, record: &Self::Record) -> Vec<Cell> {
        self.cells(record, Timestamp::ZERO)
    }
}

async fn fetch<R: Rows>(
    session: &Session<'_>,
    args: &GetArgs,
    query: &[(&'static str, String)],
) -> Result<Page<R::Record>, Failure> {
    match &args.id {
        Some(id) => {
            let record: R::Record = session.api.read(&[args.path(), id], &[]).await?;
            let freshness = R::freshness(&record);
            Ok(Page::of_one(record, freshness))
        }
        None => list::all(session, args.path(), query, args.limit()).await,
    }
}

async fn tables<R: Rows>(
    session: &mut Session<'_>,
    args: &GetArgs,
    query: &[(&'static str, String)],
    rows: &R,
) -> Result<(), Failure> {
    let page = fetch::<R>(session, args, query).await?;
    let mut table = Table::new(&rows.headings());
    if args.watch {
        // Longer words than those of now are to come.
        table.at_least("STATUS", "RetryPending".len());
    }
    let now = session.console.now();
    for record in &page.items {
        table.row(rows.cells(record, now));
    }
    if table.is_empty() && !args.watch {
        return freshness::nothing(session, page.freshness(), args.path(), R::IF_NONE).await;
    }
    freshness::note(session, page.freshness()).await?;
    let colored = session.console.colored();
    session.console.text(&table.render(0, colored))?;
    if page.more {
        let note = format!(
            "note: more than {} match; --limit shows more",
            page.items.len()
        );
        session.console.note(&note)?;
    }
    if args.watch {
        watch(session, args, query, rows, (page, table.widths())).await?;
    }
    Ok(())
}

/// Goes on for ever, printing the rows that differ from what was `shown`.
async fn watch<R: Rows>(
    session: &mut Session<'_>,
    args: &GetArgs,
    query: &[(&'static str, String)],
    rows: &R,
    (shown, widths): (Page<R::Record>, Vec<usize>),
) -> Result<(), Failure> {
    let marks = |page: &Page<R::Record>| -> BTreeMap<String, Vec<Cell>> {
        let of = |record| (R::id(record), rows.mark(record));
        page.items.iter().map(of).collect()
    };
    let headings = rows.headings();
    let status = headings.iter().position(|h| *h == "STATUS").unwrap_or(0);
    let mut seen = marks(&shown);
    loop {
        tokio::time::sleep(args.interval).await;
        let page = match fetch::<R>(session, args, query).await {
            Ok(page) => page,
            Err(failure) if failure.exit == Exit::Unavailable => {
                session.console.counter(&failure.message)?;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        session.console.clear_counter()?;
        let fresh = marks(&page);
        let mut changed = Table::new(&headings);
        let now = session.console.now();
        for record in &page.items {
            let id = R::id(record);
            if seen.get(&id) != fresh.get(&id) {
                changed.row(rows.cells(record, now));
            }
        }
        for id in seen.keys().filter(|id| !fresh.contains_key(*id)) {
            let mut cells = vec![Cell::from(id.clone())];
            cells.resize(headings.len(), Cell::from("-"));
            cells[status] = Cell::from("Gone");
            changed.row(cells);
        }
        let text = changed.render_rows(&widths, session.console.colored());
        session.console.text(&text)?;
        seen = fresh;
    }
}

struct Workloads {
    wide: bool,
}

impl Rows for Workloads {
    type Record = WorkloadView;
    const IF_NONE: &'static str = "`berth apply -f FILE` creates some";

    fn headings(&self) -> Vec<&'static str> {
        let mut all = vec!["ID", "TYPE", "STATUS", "NODE", "REVISION", "TRIES", "AGE"];
        if self.wide {
            all.extend([
                "DESIRED", "CPU", "MEMORY", "DISK", "TENANT", "PRIORITY", "REASON",
            ]);
        }
        all
    }

    fn id(record: &WorkloadView) -> String {
        record.record.id.to_string()
    }

    fn freshness(record: &WorkloadView) -> Freshness {
        record.freshness
    }

    fn cells(&self, view: &WorkloadView, now: Timestamp) -> Vec<Cell> {
        let record = &view.record;
        let status = view.display_status;
        let node = record.assigned_node.as_ref().map(ToString::to_string);
        let tries = format!("{}/{}", record.retry.attempts, record.retry.max_attempts);
        let mut cells = vec![
            record.id.to_string().into(),
            record.workload_type().name().into(),
            Cell::new(status.name(), text::workload_tone(status)),
            text::dash(node.unwrap_or_default()).into(),
            record.revision_id.to_string().into(),
            tries.into(),
            text::age(record.metadata.created_at, now).into(),
        ];
        if self.wide {
            let tenant = record.tenant.as_ref().map(ToString::to_string);
            cells.extend([
                format!("{:?}", record.desired_state).into(),
                text::cores(record.resources.cpu).into(),
                text::memory(record.resources.memory_mb).into(),
                text::disk(record.resources.disk_gb).into(),
                text::dash(tenant.unwrap_or_default()).into(),
                record.priority.to_string().into(),
                text::dash(text::short(&record.status.failure_reason, 80)).into(),
            ]);
        }
        cells
    }
}

struct Nodes {
    wide: bool,
}

impl Rows for Nodes {
    type Record = NodeView;
    const IF_NONE: &'static str = NO_NODES;

    fn headings(&self) -> Vec<&'static str> {
        let mut all = vec!["ID", "STATUS", "CPU", "MEMORY", "DISK", "WORKLOADS", "AGE"];
        if self.wide {
            all.extend(["ENDPOINT", "TYPES", "LABELS", "REASON", "VERSION"]);
        }
        all
    }

    fn id(record: &NodeView) -> String {
        record.record.id.to_string()
    }

    fn freshness(record: &NodeView) -> Freshness {
        record.freshness
    }

    fn cells(&self, view: &NodeView, now: Timestamp) -> Vec<Cell> {
        let record = &view.record;
        let amounts = &record.resources;
        let of = |part: String, whole: String| Cell::from(format!("{part}/{whole}"));
        let disk_total = amounts
            .disk_total
            .map_or_else(|| "?".to_owned(), text::disk);
        let mut cells = vec![
            record.id.to_string().into(),
            text::node_status(record),
            of(
                text::cores(amounts.cpu_allocated),
                text::cores(amounts.cpu_total),
            ),
            of(
                text::memory(amounts.memory_allocated),
                text::memory(amounts.memory_total),
            ),
            of(text::disk(amounts.disk_allocated), disk_total),
            view.workloads.to_string().into(),
            text::age(record.created_at, now).into(),
        ];
        if self.wide {
            let types: Vec<&str> = record
                .supported_workload_types
                .iter()
                .map(|t| t.name())
                .collect();
            cells.extend([
                record.agent_endpoint.clone().into(),
                text::dash(types.join(",")).into(),
                text::labels(&record.labels).into(),
                format!("{:?}", record.status_reason).into(),
                text::dash(record.agent_version.clone()).into(),
            ]);
        }
        cells
    }
}

#[cfg(test)]
#[path = "get_tests.rs"]
mod tests;
