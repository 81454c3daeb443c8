//! The guide to operations: what it names exists, and what it says of a restored store holds.

use std::collections::BTreeSet;
use std::path::Path;

use berth_tests::workloads::{starter, starts};
use berth_tests::{Agent, Etcd, Lab, secs, wait_for};

use crate::{Scheduler, create};

/// A file of the project.
fn page(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let file = root.expect("the workspace").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The words of a text that look like metrics.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.filter(|w| {
        ["berth_", "persys_scheduler_", "etcd_"]
            .iter()
            .any(|prefix| w.starts_with(prefix))
    });
    named.map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_of_the_guide_exist() {
    let lab = Lab::new("operations-metrics");
    let scheduler = Scheduler::start(&lab, &[]).await;
    let ours = scheduler.server.rest().get("/metrics").await;
    let etcds = berth_tests::Rest::new(scheduler.etcd.url().trim_start_matches("http://"));
    let etcds = etcds.get("/metrics").await;
    let there = ours.expect("an answer").ok().text + &etcds.expect("an answer").ok().text;
    for path in ["docs/operations.md", "deploy/prometheus/alerts.yaml"] {
        let named = metrics(&page(path));
        assert!(named.len() >= 5, "{path} names {named:?}");
        for name in named {
            let found = there.lines().any(|line| {
                line.strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            });
            assert!(found, "{path}: no metric is called {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored() {
    let lab = Lab::new("operations-restore");
    let mut scheduler = Scheduler::start(&lab, &[]).await;
    let agent = Agent::start(&lab, &scheduler.server, "node-1", &[]);
    let file = lab.path("starts");
    let rest = scheduler.server.rest();
    create(&rest, (0..2).map(|n| starter(&format!("kept-{n}"), &file))).await;
    wait_for("both to run", secs(20), async || rest.all_running(2).await).await;

    let snapshot = lab.path("backup.db");
    let _ = scheduler
        .etcd
        .etcdctl(&["snapshot", "save", &snapshot.display().to_string()]);
    create(&rest, [starter("late", &file)]).await;
    wait_for("the third to run", secs(20), async || {
        rest.all_running(3).await
    })
    .await;
    // A leader that the backup does not know: the agent hears of its epoch with the next call.
    scheduler.server.kill();
    scheduler.server.launch(&lab);
    scheduler.server.wait_ready().await;
    let heard = lab.path(agent.node()).join("epoch");
    let led = epoch(&rest).await;
    wait_for("the agent to hear of the epoch", secs(20), async || {
        let text = std::fs::read_to_string(&heard).map_err(|e| e.to_string())?;
        if text.trim() == led.to_string() {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;

    scheduler.server.kill();
    scheduler.etcd.restore(&lab, &snapshot).await;
    let restored = scheduler.etcd.revision().await;
    assert!(
        restored < led,
        "the backup is not older: {restored} and {led}"
    );
    raise_revision(&scheduler.etcd, led).await;
    scheduler.server.launch(&lab);
    scheduler.server.wait_ready().await;
    assert!(epoch(&rest).await > led);

    // The agent takes orders, and what ran was not touched.
    create(&rest, [starter("after", &file)]).await;
    wait_for("old and new to run", secs(30), async || {
        rest.all_running(3).await
    })
    .await;
    let mut started = starts(&file);
    started.sort();
    assert_eq!(started, ["after", "kept-0", "kept-1", "late"]);
}

/// The epoch that the server leads under.
async fn epoch(rest: &berth_tests::Rest) -> i64 {
    let health = rest.get("/health").await.expect("an answer").ok();
    health.body["epoch"].as_i64().expect("an epoch")
}

/// Writes what is not the scheduler's until the store's revision is above `above`.
async fn raise_revision(etcd: &Etcd, above: i64) {
    let mut client = etcd.client().await;
    while etcd.revision().await <= above {
        let _ = client
            .put("raise-the-revision", "", None)
            .await
            .expect("etcd writes");
    }
}
