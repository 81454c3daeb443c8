//! The harness itself: a check that cannot fail proves nothing.

use std::path::Path;

use berth_tests::history::replay;
use berth_tests::process::{is_alive, workload_processes};
use berth_tests::{Etcd, History, Lab, secs, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_test_started_ends_with_it() {
    let lab = Lab::new("harness");
    // A child of a child, in a session of its own and a clean environment, as a workload is.
    let script = "env -i PATH=$PATH TMPDIR=$TMPDIR BERTH_WORKLOAD_ID=w-1 setsid sleep 1000 & wait";
    let shell = lab.start(
        "shell",
        Path::new("sh"),
        &["-c".to_owned(), script.to_owned()],
    );
    let (found, _) = wait_for("the grandchild", secs(10), async || {
        let found = workload_processes(lab.mark());
        if found.len() == 1 {
            Ok(found)
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
    assert_eq!(found[0].0, "w-1");
    drop(shell);
    assert!(is_alive(found[0].1), "it outlives its parent");
    drop(lab);
    assert!(!is_alive(found[0].1), "it does not outlive the lab");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_sees_every_revision_through_a_crash_of_etcd() {
    let lab = Lab::new("history");
    let mut etcd = Etcd::start(&lab).await;
    let history = History::record(&etcd);
    let mut client = etcd.client().await;
    for n in 0..5 {
        client
            .put("/a", format!("{n}"), None)
            .await
            .expect("etcd serves");
    }
    etcd.kill();
    etcd.restart(&lab).await;
    let mut client = etcd.client().await;
    client.put("/b", "7", None).await.expect("etcd serves");
    client.delete("/a", None).await.expect("etcd serves");

    let changes = history.until_now(&etcd).await;
    let revisions: Vec<_> = changes.iter().map(|c| c.revision).collect();
    assert_eq!(revisions, [2, 3, 4, 5, 6, 7, 8], "{changes:?}");
    let mut last = Vec::new();
    replay(&changes, |_, state| last = state.keys().cloned().collect());
    assert_eq!(last, ["/b"]);
    assert_eq!(etcd.all("/").await, [("/b".to_owned(), "7".to_owned())]);
    assert_eq!(
        etcd.etcdctl(&["get", "/b", "--print-value-only"]).trim(),
        "7"
    );
    assert!(
        etcd.metric("etcd_debugging_mvcc_put_total")
            .await
            .expect("metrics")
            >= 1.0
    );
}

#[tokio::test]
#[should_panic(expected = "waited 10ms for a miracle; last seen: none yet")]
async fn a_wait_that_fails_says_what_it_saw() {
    let deadline = std::time::Duration::from_millis(10);
    wait_for("a miracle", deadline, async || {
        Err::<(), _>("none yet".to_owned())
    })
    .await;
}
