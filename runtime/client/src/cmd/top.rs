//! `berth top`: how full nodes are.

use berth_core::io::view::NodeView;
use clap::{Args, ValueEnum};

use super::get::NO_NODES;
use super::list::{self, Page};
use super::{Session, freshness};
use crate::api::Connection;
use crate::exit::Failure;
use crate::output::table::{Cell, Table};
use crate::output::{Tone, text};

/// The width of a bar.
const BAR: usize = 20;

/// What `berth top` can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopKind {
    /// Allocated of each node's capacity, and what its host uses
    #[value(name = "nodes", alias = "node")]
    Nodes,
}

/// Arguments of `berth top`.
#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    /// What to show
    #[arg(value_enum, default_value = "nodes")]
    pub kind: TopKind,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Runs `berth top`.
///
/// # Errors
/// Those of the requests.
pub async fn run(session: &mut Session<'_>, args: &TopArgs) -> Result<(), Failure> {
    match args.kind {
        TopKind::Nodes => {
            let page: Page<NodeView> = list::all(session, "nodes", &[], None).await?;
            let age = page.freshness();
            if page.items.is_empty() {
                return freshness::nothing(session, age, "nodes", NO_NODES).await;
            }
            freshness::note(session, age).await?;
            let colored = session.console.colored();
            session
                .console
                .text(&table(&page.items).render(0, colored))?;
            Ok(())
        }
    }
}

fn table(nodes: &[NodeView]) -> Table {
    let headings = [
        "NODE",
        "CPU ALLOCATED",
        "MEMORY ALLOCATED",
        "DISK ALLOCATED",
        "HOST USES",
    ];
    let mut table = Table::new(&headings);
    for view in nodes {
        let amounts = &view.record.resources;
        let disk_total = amounts.disk_total.map_or(0, |disk| disk.0);
        let told = |[cpu, memory, disk]: [String; 3]| format!("{cpu} CPU, {memory}, {disk}");
        let used = text::used(view).map_or_else(|| "-".to_owned(), told);
        table.row(vec![
            view.record.id.to_string().into(),
            text::bar(amounts.cpu_allocated.0, amounts.cpu_total.0, BAR),
            text::bar(amounts.memory_allocated.0, amounts.memory_total.0, BAR),
            text::bar(amounts.disk_allocated.0, disk_total, BAR),
            Cell::new(used, Tone::Dim),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::sample;

    #[test]
    fn bars_of_nodes() {
        let golden = "\
NODE    CPU ALLOCATED                 MEMORY ALLOCATED              DISK ALLOCATED                HOST USES
node-1  [#####...............]  25 %  [#...................]   1 %  [....................]   0 %  0.2 CPU, 900Mi, 3Gi
";
        assert_eq!(table(&[sample::node("node-1")]).render(0, false), golden);
    }
}
