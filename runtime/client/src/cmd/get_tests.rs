use berth_core::io::view::DisplayStatus;
use berth_core::model::node::NodeStatus;

use super::*;
use crate::cmd::sample;

fn render<R: Rows>(rows: &R, records: &[R::Record]) -> String {
    let mut table = Table::new(&rows.headings());
    for record in records {
        table.row(rows.cells(record, sample::now()));
    }
    table.render(0, false)
}

#[test]
fn workloads_as_a_table() {
    let mut pending = sample::workload("db-long-name");
    pending.display_status = DisplayStatus::Pending;
    pending.record.assigned_node = None;
    pending.record.status.failure_reason = "no node fits\nsecond line".into();
    let golden = "\
ID            TYPE       STATUS   NODE    REVISION  TRIES  AGE
web-1         container  Running  node-1  rev-1     1/5    1m
db-long-name  container  Pending  -       rev-1     1/5    1m
";
    let records = [sample::workload("web-1"), pending];
    assert_eq!(render(&Workloads { wide: false }, &records), golden);
    let wide = render(&Workloads { wide: true }, &records[1..]);
    let row = wide.lines().nth(1).unwrap();
    assert!(
        row.ends_with("Running  0.5  64Mi    0Gi   -       0         no node fits…"),
        "{row}"
    );
}

#[test]
fn nodes_as_a_table() {
    let mut lost = sample::node("node-2");
    lost.record.status = NodeStatus::NotReady;
    lost.record.schedulable = false;
    lost.record.resources.disk_total = None;
    let golden = "\
ID      STATUS             CPU  MEMORY     DISK      WORKLOADS  AGE
node-1  Ready              1/4  128Mi/8Gi  0Gi/50Gi  2          1m
node-2  NotReady,Cordoned  1/4  128Mi/8Gi  0Gi/?     2          1m
";
    let records = [sample::node("node-1"), lost];
    assert_eq!(render(&Nodes { wide: false }, &records), golden);
}

#[test]
fn ages_alone_do_not_count_as_a_change() {
    let rows = Workloads { wide: false };
    let mut view = sample::workload("a");
    let before = rows.mark(&view);
    assert_eq!(rows.mark(&view), before);
    view.display_status = DisplayStatus::Failed;
    assert_ne!(rows.mark(&view), before);
}

#[test]
fn filters_that_a_list_does_not_have_are_mistakes() {
    use clap::Parser;
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: GetArgs,
    }
    let of = |line: &str| {
        let words = std::iter::once("get").chain(line.split(' '));
        Line::try_parse_from(words).unwrap().args.query()
    };
    assert_eq!(of("wl --node node-1 --status running").unwrap().len(), 2);
    assert_eq!(of("workload --tenant a").unwrap().len(), 1);
    assert_eq!(of("node --tenant a").unwrap_err().exit, Exit::Usage);
    assert_eq!(of("no --node node-1").unwrap_err().exit, Exit::Usage);
    assert_eq!(of("ev --status x").unwrap_err().exit, Exit::Usage);
}
