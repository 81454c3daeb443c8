//! `berth events`: what happened, and what happens.

use std::time::Duration;

use berth_core::{EventRecord, EventType, NodeId, Timestamp, WorkloadId};
use clap::Args;
use serde_yaml_ng::Value;

use super::list::{self, Page};
use super::{Format, Session};
use crate::api::Connection;
use crate::exit::{Exit, Failure};
use crate::output::table::{Cell, Table};
use crate::output::{Tone, text};
use crate::sse;

/// After a lost connection: the first wait, doubled up to the second.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// The server speaks every 15 s at least; after this much silence the connection is taken as lost.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Arguments of `berth events`.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Go on with what happens
    #[arg(short, long)]
    pub follow: bool,
    /// Only events about this workload
    #[arg(long)]
    pub workload: Option<WorkloadId>,
    /// Only events about this node
    #[arg(long)]
    pub node: Option<NodeId>,
    /// Only events after the one with this id
    #[arg(long, value_name = "EVENT")]
    pub after: Option<String>,
    /// How many of the past at most
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// How to print; json with --follow prints one event a line
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

impl EventsArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        query.extend(
            self.workload
                .as_ref()
                .map(|id| ("workload", id.to_string())),
        );
        query.extend(self.node.as_ref().map(|id| ("node", id.to_string())));
        query
    }
}

/// Runs `berth events`.
///
/// # Errors
/// Those of the requests. With `--follow`, only until the first connection: later it reconnects.
pub async fn run(session: &mut Session<'_>, args: &EventsArgs) -> Result<(), Failure> {
    let mut query = args.query();
    query.push(("limit", args.limit.max(1).to_string()));
    query.extend(args.after.clone().map(|after| ("after", after)));
    if matches!(args.output, Format::Json | Format::Yaml) && !args.follow {
        let value: Value = session.api.read(&["events"], &query).await?;
        return list::print_raw(session, &value, args.output == Format::Yaml);
    }
    let mut page: Page<EventRecord> = session.api.read(&["events"], &query).await?;
    let last = page.items.last().map(|event| event.id.to_string());
    if args.limit == 0 {
        page.items.clear();
    }
    match args.output {
        Format::Json | Format::Yaml => {
            for event in &page.items {
                print_one(session, event, args.output)?;
            }
        }
        Format::Table | Format::Wide if args.follow => {
            for event in &page.items {
                print_one(session, event, args.output)?;
            }
        }
        Format::Table | Format::Wide => print_table(session, &page.items)?,
    }
    if args.follow {
        follow(session, args, last.or_else(|| args.after.clone())).await?;
    }
    Ok(())
}

/// Follows the stream for ever, resuming after the last event that was seen.
async fn follow(
    session: &mut Session<'_>,
    args: &EventsArgs,
    mut last: Option<String>,
) -> Result<(), Failure> {
    let mut wait = RECONNECT.0;
    let mut connected_once = false;
    loop {
        let query = args.query();
        let ended = match session
            .api
            .stream(&["events"], &query, last.as_deref())
            .await
        {
            Ok(answer) => {
                connected_once = true;
                wait = RECONNECT.0;
                read_stream(session, args, answer, &mut last).await?
            }
            Err(failure) if connected_once && failure.exit == Exit::Unavailable => {
                failure.to_string()
            }
            Err(failure) => return Err(failure),
        };
        session
            .console
            .note(&format!("note: {ended}; connecting again"))?;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RECONNECT.1);
    }
}

/// Prints until the stream ends; says why it did.
async fn read_stream(
    session: &mut Session<'_>,
    args: &EventsArgs,
    mut answer: reqwest::Response,
    last: &mut Option<String>,
) -> Result<String, Failure> {
    let mut parser = sse::Parser::default();
    loop {
        let chunk = match tokio::time::timeout(SILENCE_MAX, answer.chunk()).await {
            Err(_) => return Ok("the server fell silent".to_owned()),
            Ok(Err(error)) => return Ok(session.api.lost(&error).to_string()),
            Ok(Ok(None)) => return Ok("the server ended the stream".to_owned()),
            Ok(Ok(Some(chunk))) => chunk,
        };
        for message in parser.feed(&chunk) {
            if let Some(id) = message.id {
                *last = Some(id);
            }
            if message.data.is_empty() {
                continue;
            }
            match serde_json::from_str::<EventRecord>(&message.data) {
                Ok(event) => print_one(session, &event, args.output)?,
                // What is no event is about the stream, for instance that events were lost.
                Err(_) => {
                    let kind = message.event.unwrap_or_else(|| "message".to_owned());
                    let data = text::short(&message.data, 200);
                    session.console.note(&format!("note: {kind}: {data}"))?;
                }
            }
        }
    }
}

fn print_one(
    session: &mut Session<'_>,
    event: &EventRecord,
    format: Format,
) -> Result<(), Failure> {
    let line = match format {
        Format::Json | Format::Yaml => serde_json::to_string(event)
            .map_err(|error| Failure::new(Exit::Error, error.to_string()))?,
        Format::Table | Format::Wide => {
            let name = format!("{:<21}", event.event_type.to_string());
            let name = tone(event.event_type).paint(&name, session.console.colored());
            let about = format!("{:<24}", about(event));
            let reason = event.reason.replace(char::is_control, " ");
            let line = format!("{}  {name}  {about}  {reason}", event.timestamp);
            line.trim_end().to_owned()
        }
    };
    session.console.line(&line)?;
    Ok(())
}

/// Prints events as a table.
///
/// # Errors
/// Those of the stream.
pub fn print_table(session: &mut Session<'_>, events: &[EventRecord]) -> Result<(), Failure> {
    if events.is_empty() {
        session.console.note("no events")?;
        return Ok(());
    }
    let table = table(events, session.console.now());
    let colored = session.console.colored();
    session.console.text(&table.render(0, colored))?;
    Ok(())
}

/// Events as a table, oldest first.
#[must_use]
pub fn table(events: &[EventRecord], now: Timestamp) -> Table {
    let mut table = Table::new(&["AGE", "TYPE", "ABOUT", "REASON"]);
    for event in events {
        table.row(vec![
            text::age(event.timestamp, now).into(),
            Cell::new(event.event_type.to_string(), tone(event.event_type)),
            about(event).into(),
            text::short(&event.reason, 120).into(),
        ]);
    }
    table
}

fn about(event: &EventRecord) -> String {
    match (&event.workload_id, &event.node_id) {
        (Some(workload), Some(node)) => format!("{workload} on {node}"),
        (Some(workload), None) => workload.to_string(),
        (None, Some(node)) => node.to_string(),
        (None, None) => "-".to_owned(),
    }
}

const fn tone(kind: EventType) -> Tone {
    use EventType as E;
    match kind {
        E::WorkloadRunning | E::NodeRegistered | E::NodeReady | E::EvictionResumed => Tone::Good,
        E::WorkloadUnschedulable
        | E::WorkloadFailed
        | E::RetriesExhausted
        | E::DriftDetected
        | E::NodeLost
        | E::NodeFenced
        | E::EvictionPaused
        | E::RecordQuarantined => Tone::Bad,
        E::RetryTriggered
        | E::Rescheduled
        | E::WorkloadDeleting
        | E::NodeCordoned
        | E::NodeDraining => Tone::Busy,
        E::WorkloadCreated
        | E::WorkloadUpdated
        | E::WorkloadScheduled
        | E::WorkloadStopped
        | E::WorkloadDeleted
        | E::NodeUncordoned
        | E::NodeDrained
        | E::NodePurged
        | E::RecordAdopted
        | E::AutomationDecided => Tone::Plain,
    }
}
