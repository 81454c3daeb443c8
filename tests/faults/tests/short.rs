//! The short form of the fault runs: another seed with `BERTH_TEST_SEED`.

use berth_faults::run::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_faults_and_nothing_is_lost() {
    let given = std::env::var("BERTH_TEST_SEED").ok();
    let seed = given
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_260_217);
    let outcome = run(&Plan::short(seed)).await;
    assert!(outcome.faults >= 8, "{outcome:?}");
    assert!(outcome.leaders > 1, "no leader was lost: {outcome:?}");
}
