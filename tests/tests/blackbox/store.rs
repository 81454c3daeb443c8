//! The store goes away: reads answer and say that they are old, writes are refused with a hint,
//! nobody is evicted, and everything goes on when it returns.

use berth_tests::wait::holds_for;
use berth_tests::workloads::{assignments, container};
use berth_tests::{CallKind, FakeAgent, FakeAgentOptions, Lab, Rest, secs, wait_for};

use crate::{Scheduler, create};

const WORKLOADS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_paused_and_resumed() {
    let lab = Lab::new("store-paused");
    let mut scheduler = Scheduler::start(&lab, &[]).await;
    let agents = running(&scheduler).await;
    scheduler.etcd.pause();
    outage(&scheduler.server.rest(), &agents).await;
    scheduler.etcd.resume();
    recovered(&mut scheduler, &agents).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_killed_and_restarted() {
    let lab = Lab::new("store-killed");
    let mut scheduler = Scheduler::start(&lab, &[]).await;
    let agents = running(&scheduler).await;
    scheduler.etcd.kill();
    outage(&scheduler.server.rest(), &agents).await;
    scheduler.etcd.restart(&lab).await;
    recovered(&mut scheduler, &agents).await;
}

/// Ten workloads that run on two nodes.
async fn running(scheduler: &Scheduler) -> Vec<FakeAgent> {
    let nodes = (1..=2).map(|n| FakeAgentOptions::new(&format!("node-{n}"), 8000, 8192));
    let agents = scheduler.fake_agents(nodes.collect()).await;
    let rest = scheduler.server.rest();
    create(
        &rest,
        (0..WORKLOADS).map(|n| container(&format!("w-{n}"), &["sleep"], 0.1, 16)),
    )
    .await;
    wait_for("all to run", secs(20), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    agents
}

/// While the store is away, for longer than heartbeats and grace would take.
async fn outage(rest: &Rest, agents: &[FakeAgent]) {
    let before = rest.workloads().await.expect("reads answer");
    let (_, took) = wait_for("reads to be marked stale", secs(20), async || {
        let answer = rest.get("/workloads?limit=500").await?;
        if answer.status == 200 && answer.body["stale"] == true {
            return Ok(());
        }
        Err(format!(
            "{}: stale is {}",
            answer.status, answer.body["stale"]
        ))
    })
    .await;
    crate::measured("reads are marked stale after the store went away", took);

    let refused = rest
        .post("/workloads", &container("late", &["sleep"], 0.1, 16))
        .await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text);
    let hint = refused
        .retry_after
        .as_deref()
        .and_then(|s| s.parse::<u64>().ok());
    assert!(hint.is_some_and(|s| s >= 1), "no Retry-After: {refused:?}");
    assert!(
        refused.content_type.starts_with("application/problem+json"),
        "{refused:?}"
    );
    let refused = rest.delete("/workloads/w-1").await.expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text);
    let ready = rest.get("/readyz").await.expect("an answer");
    assert_eq!(ready.status, 503, "{}", ready.text);
    let live = rest.get("/livez").await.expect("an answer");
    assert_eq!(live.status, 200, "{}", live.text);

    let told: usize = agents.iter().map(|a| a.book().mutations()).sum();
    holds_for("calm while the store is away", secs(8), async || {
        let workloads = rest.workloads().await?;
        if assignments(&workloads) != assignments(&before) {
            return Err("something was moved".to_owned());
        }
        let now: usize = agents.iter().map(|a| a.book().mutations()).sum();
        if now == told {
            Ok(())
        } else {
            Err("an agent was told to change something".to_owned())
        }
    })
    .await;
}

/// After the store is back.
async fn recovered(scheduler: &mut Scheduler, agents: &[FakeAgent]) {
    let rest = scheduler.server.rest();
    let (_, took) = wait_for("the scheduler to lead again", secs(30), async || {
        let ready = rest.get("/readyz").await?;
        if ready.status == 200 {
            Ok(())
        } else {
            Err(ready.text)
        }
    })
    .await;
    crate::measured("the scheduler leads again after the store returned", took);
    assert!(
        scheduler.server.process().ended().is_none(),
        "the scheduler ended"
    );

    create(&rest, [container("late", &["sleep"], 0.1, 16)]).await;
    wait_for("old and new to run", secs(20), async || {
        rest.all_running(WORKLOADS + 1).await
    })
    .await;
    // Twice the time in which lost nodes would be emptied.
    holds_for("nobody is evicted", secs(6), async || {
        rest.nodes_ready(2).await?;
        rest.all_running(WORKLOADS + 1).await.map(|_| ())
    })
    .await;

    let applies: usize = agents.iter().map(|a| a.book().count(CallKind::Apply)).sum();
    assert_eq!(
        applies,
        WORKLOADS + 1,
        "each workload was applied once, before or after"
    );
    let changes = scheduler.history.until_now(&scheduler.etcd).await;
    let lost = changes.iter().filter_map(|c| c.value.as_ref()).find(|v| {
        ["NodeLost", "Rescheduled"]
            .iter()
            .any(|word| v["type"] == *word || v["event_type"] == *word)
    });
    assert!(lost.is_none(), "{lost:?}");
}
