//! The scheduler killed at random moments while clients write: nothing that was acknowledged is
//! lost, and no agent is called whose intent was not in etcd before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_tests::agent_book::Call;
use berth_tests::fake_agent::Witness;
use berth_tests::history::Change;
use berth_tests::workloads::container;
use berth_tests::{
    CallKind, Etcd, FakeAgent, FakeAgentOptions, Lab, Rest, Schedule, secs, wait_for,
};
use reqwest::Method;

use crate::Scheduler;

const KILLS: usize = 6;
const CLIENTS: usize = 3;

/// A mutation that an agent was asked for, and the store's revision when it arrived there.
#[derive(Debug, Clone)]
struct Witnessed {
    node: String,
    call: Call,
    revision: i64,
}

type Log = Arc<Mutex<Vec<Witnessed>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let lab = Lab::new("crash");
    let mut schedule = Schedule::from_environment(20_260_217);
    let mut scheduler = Scheduler::start(&lab, &[]).await;
    let log = Log::default();
    let options = (1..=3).map(|n| {
        let mut options = FakeAgentOptions::new(&format!("node-{n}"), 64_000, 65_536);
        options.start_delay = Duration::from_millis(50);
        options.witness = Some(witness(&scheduler.etcd, &options.node, &log));
        options
    });
    let agents = scheduler.fake_agents(options.collect()).await;
    let rest = scheduler.server.rest();

    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(write_all_the_time(rest.clone(), client, Arc::clone(&stop))))
        .collect();
    for _ in 0..KILLS {
        let moment = schedule.between(Duration::from_millis(200), Duration::from_millis(1500));
        tokio::time::sleep(moment).await;
        scheduler.server.kill();
        scheduler.server.launch(&lab);
        scheduler.server.wait_ready().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut wanted = BTreeSet::new();
    for client in clients {
        wanted.extend(client.await.expect("no client panics"));
    }
    println!(
        "{} workloads acknowledged through {KILLS} kills",
        wanted.len()
    );

    converged(&scheduler, &agents, &wanted).await;
    one_artifact_each(&scheduler, &agents);
    let changes = scheduler.history.until_now(&scheduler.etcd).await;
    let log = log.lock().expect("no holder panics").clone();
    assert!(
        log.len() >= wanted.len(),
        "{} mutations were witnessed",
        log.len()
    );
    for seen in &log {
        intended_before(&changes, seen);
    }
}

/// Creates workloads and deletes every fourth again, each until it is acknowledged, until told to
/// stop. Returns those that must exist.
async fn write_all_the_time(rest: Rest, client: usize, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut wanted = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("c{client}-{number:04}");
        let manifest = container(&id, &["sleep"], 0.01, 8);
        let body = manifest.to_string().into_bytes();
        acknowledged(
            &rest,
            Method::POST,
            "/workloads",
            Some(body),
            &[200, 201, 202],
        )
        .await;
        if number % 4 == 3 {
            let path = format!("/workloads/{id}");
            acknowledged(&rest, Method::DELETE, &path, None, &[200, 202, 204, 404]).await;
        } else {
            wanted.push(id);
        }
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wanted
}

/// Repeats a request until it is answered with one of `good`. No connection and 503 are what a
/// client expects of a scheduler that was killed; anything else is not.
async fn acknowledged(
    rest: &Rest,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
    good: &[u16],
) {
    loop {
        match rest.send(method.clone(), path, body.clone()).await {
            Ok(answer) if good.contains(&answer.status) => return,
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Exactly the wanted workloads exist, run, and are on the agents.
async fn converged(scheduler: &Scheduler, agents: &[FakeAgent], wanted: &BTreeSet<String>) {
    let rest = scheduler.server.rest();
    wait_for(
        "exactly what was acknowledged to run",
        secs(60),
        async || {
            let all = rest.workloads().await?;
            let wrong = all.iter().find(|w| w["display_status"] != "Running");
            if let Some(id) = wrong.and_then(|w| w["id"].as_str()) {
                return Err(format!(
                    "{id} does not run:\n{}",
                    story(scheduler, agents, id)
                ));
            }
            let running = rest.all_running(wanted.len()).await.unwrap_or(all);
            let ids: BTreeSet<_> = running
                .iter()
                .filter_map(|w| w["id"].as_str().map(ToOwned::to_owned))
                .collect();
            if ids != *wanted {
                let missing: Vec<_> = wanted.difference(&ids).collect();
                let extra: Vec<_> = ids.difference(wanted).collect();
                return Err(format!("lost: {missing:?}; not deleted: {extra:?}"));
            }
            let held: Vec<String> = agents.iter().flat_map(|a| a.book().held()).collect();
            let once: BTreeSet<_> = held.iter().cloned().collect();
            if once == *wanted && held.len() == once.len() {
                return Ok(());
            }
            Err(format!(
                "agents hold {} of {} workloads",
                held.len(),
                wanted.len()
            ))
        },
    )
    .await;
}

/// Everything that is known of one workload, for a failure.
fn story(scheduler: &Scheduler, agents: &[FakeAgent], id: &str) -> String {
    let mut text = scheduler.history.about(id);
    for (node, agent) in agents.iter().enumerate() {
        for call in agent.book().calls().iter().filter(|c| c.workload == id) {
            text.push_str(&format!(
                "node-{} was called {:.1?} ago: {:?} {} epoch {:?}\n",
                node + 1,
                call.at.elapsed(),
                call.kind,
                call.revision,
                call.epoch
            ));
        }
    }
    text
}

/// No workload was applied on two nodes: nobody was lost, so nothing had to move.
fn one_artifact_each(scheduler: &Scheduler, agents: &[FakeAgent]) {
    let mut homes: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (node, agent) in agents.iter().enumerate() {
        for call in agent
            .book()
            .calls()
            .into_iter()
            .filter(|c| c.kind == CallKind::Apply)
        {
            homes.entry(call.workload).or_default().insert(node);
        }
        assert!(
            agent.book().complaints().is_empty(),
            "{:?}",
            agent.book().complaints()
        );
    }
    for (workload, nodes) in &homes {
        assert_eq!(
            nodes.len(),
            1,
            "{workload} was applied on several nodes: {nodes:?}"
        );
    }
    for (workload, made) in agents.iter().flat_map(|a| a.book().artifacts_made()) {
        let story = || story(scheduler, agents, &workload);
        assert_eq!(made, 1, "{workload} was made {made} times:\n{}", story());
    }
}

/// Asks etcd for its revision from inside the agent, before the agent does anything.
fn witness(etcd: &Etcd, node: &str, log: &Log) -> Witness {
    let (url, node, log) = (etcd.url(), node.to_owned(), Arc::clone(log));
    Arc::new(move |call| {
        let (url, node, log) = (url.clone(), node.clone(), Arc::clone(&log));
        Box::pin(async move {
            let mut etcd = etcd_client::Client::connect([url], None)
                .await
                .map_err(|e| e.to_string())?;
            let key = format!("/reconciliation/{}", call.workload);
            let answer = etcd.get(key, None).await.map_err(|e| e.to_string())?;
            let revision = answer.header().ok_or("no header")?.revision();
            log.lock().map_err(|e| e.to_string())?.push(Witnessed {
                node,
                call,
                revision,
            });
            Ok(())
        })
    })
}

/// At some revision that was in etcd when the call arrived, the intent said this very thing.
fn intended_before(changes: &[Change], seen: &Witnessed) {
    let intent = format!("/reconciliation/{}", seen.call.workload);
    let tombstone = format!("/meta/tombstones/{}/{}", seen.node, seen.call.workload);
    let found = changes
        .iter()
        .take_while(|c| c.revision <= seen.revision)
        .any(|change| {
            let Some(value) = &change.value else {
                return false;
            };
            let action = value["action"].as_str().unwrap_or_default();
            match seen.call.kind {
                CallKind::Apply => {
                    change.key == intent
                        && value["revision_id"] == seen.call.revision.as_str()
                        && value["node_id"] == seen.node.as_str()
                        && ["Apply", "ApplyStopped", "Recreate"].contains(&action)
                }
                CallKind::Delete => {
                    let intended = change.key == intent
                        && value["node_id"] == seen.node.as_str()
                        && ["Delete", "Recreate"].contains(&action);
                    intended || change.key == tombstone
                }
                CallKind::Status | CallKind::List => true,
            }
        });
    assert!(
        found,
        "no intent was in etcd at revision {} for {seen:?}",
        seen.revision
    );
}
