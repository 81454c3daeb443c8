//! Several servers over one store: any of them serves every API, and they can be restarted one
//! after the other while clients write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_tests::berth::{FAST, berth, text_of};
use berth_tests::workloads::container;
use berth_tests::{Etcd, FakeAgent, FakeAgentOptions, Lab, Rest, Server, secs, wait_for};
use nix::sys::signal::Signal;
use reqwest::Method;

const CLIENTS: usize = 3;

/// So many servers; the first one leads.
async fn servers(lab: &Lab, etcd: &Etcd, count: usize, flags: &[&str]) -> Vec<Server> {
    let flags: Vec<_> = FAST.iter().chain(flags).copied().collect();
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Server::start(lab, etcd, &flags).await);
    }
    servers
}

async fn leads(rest: &Rest) -> bool {
    let health = rest.get("/health").await;
    health.is_ok_and(|answer| answer.body["leading"] == true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_lead_serves_every_api() {
    let lab = Lab::new("replicas");
    let etcd = Etcd::start(&lab).await;
    let mut servers = servers(&lab, &etcd, 2, &["--shutdown-delay=2s"]).await;
    let (first, second) = (servers[0].rest(), servers[1].rest());
    assert!(leads(&first).await && !leads(&second).await);

    // An agent that knows the second one only: registrations, heartbeats.
    let options = FakeAgentOptions::new("node-1", 8_000, 8_192);
    let agent = FakeAgent::start(servers[1].grpc(), options).await;
    wait_for("its node", secs(15), async || first.nodes_ready(1).await).await;
    wait_for("its node", secs(15), async || second.nodes_ready(1).await).await;
    // What follows a store that tells is as good as new.
    let read = text_of(&berth(&lab, servers[1].http(), &["get", "nodes"]));
    assert!(read.contains("node-1") && !read.contains("old"), "{read}");
    // What its node says to the leader alone is not shown as nothing.
    let describe = ["describe", "node", "node-1", "--strong"];
    let here = text_of(&berth(&lab, servers[1].http(), &describe[..3]));
    assert!(here.contains("Strangers:      -"), "{here}");
    let strong = text_of(&berth(&lab, servers[1].http(), &describe));
    assert!(strong.contains("Holds:          0"), "{strong}");
    assert!(!strong.contains("Strangers:"), "{strong}");
    let _ = second
        .post("/workloads", &container("web", &["sleep"], 0.01, 8))
        .await
        .expect("an answer")
        .ok();
    // What was acknowledged is seen at once, wherever a strong read is asked for.
    for rest in [&first, &second] {
        let read = rest.get("/workloads/web?consistency=strong").await;
        assert_eq!(read.expect("an answer").ok().body["id"], "web");
    }
    let read = berth(&lab, servers[1].http(), &["get", "workloads", "--strong"]);
    assert!(text_of(&read).contains("web"), "{}", text_of(&read));
    wait_for("it to run", secs(15), async || second.all_running(1).await).await;
    let none = second.get("/workloads/none").await.expect("an answer");
    assert_eq!(none.status, 404, "{}", none.text);
    let cordoned = second
        .post("/nodes/node-1/cordon", &serde_json::json!({}))
        .await;
    let _ = cordoned.expect("an answer").ok();
    let _ = second
        .delete("/workloads/web")
        .await
        .expect("an answer")
        .ok();
    wait_for("it to be gone", secs(15), async || {
        let left = second.workloads().await?;
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    })
    .await;
    assert_eq!(agent.book().complaints(), Vec::<String>::new());

    // Told to end, it is not ready at once and serves for a while all the same.
    servers[1].process().signal(Signal::SIGTERM);
    wait_for("it to be not ready", secs(1), async || {
        let ready = second.get("/readyz").await?;
        (ready.status == 503).then_some(()).ok_or(ready.text)
    })
    .await;
    let written = second
        .post("/workloads", &container("late", &["sleep"], 0.01, 8))
        .await;
    let _ = written.expect("it serves").ok();
    let process = servers[1].process();
    wait_for("it to end", secs(10), async || {
        process.ended().ok_or("it runs".to_owned())
    })
    .await;
    let late = first.get("/workloads/late").await.expect("an answer");
    assert_eq!(late.status, 200);

    // Nobody leads: a server that follows says so, and when to come back.
    servers[1].launch(&lab);
    servers[1].wait_ready().await;
    etcd.pause();
    servers[0].kill();
    let refused = second
        .post("/workloads", &container("never", &["sleep"], 0.01, 8))
        .await
        .expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert_eq!(refused.retry_after.as_deref(), Some("1"));
    wait_for("reads to be called old", secs(20), async || {
        let read = text_of(&berth(&lab, servers[1].http(), &["get", "nodes"]));
        let old = read.contains("node-1") && read.contains("note: this may be old: ");
        old.then_some(()).ok_or(read)
    })
    .await;
    etcd.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_restarted_one_after_the_other_lose_no_acknowledged_write() {
    let lab = Lab::new("rolling");
    let etcd = Etcd::start(&lab).await;
    let mut servers = servers(&lab, &etcd, 3, &[]).await;
    let doors: Vec<Rest> = servers.iter().map(Server::rest).collect();
    let grpc: Vec<String> = servers.iter().map(|s| s.grpc().to_owned()).collect();
    let mut agents = Vec::new();
    for n in 1..=3 {
        let mut options = FakeAgentOptions::new(&format!("node-{n}"), 64_000, 65_536);
        options.start_delay = Duration::from_millis(20);
        agents.push(FakeAgent::start_at(&grpc, options).await);
    }
    wait_for("the agents' nodes", secs(20), async || {
        doors[0].nodes_ready(3).await
    })
    .await;

    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(write_all_the_time(doors.clone(), client, Arc::clone(&stop))))
        .collect();
    // The leader last and first: each restart of a leader hands over.
    for at in [1, 2, 0, 1] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        servers[at].process().signal(Signal::SIGTERM);
        let process = servers[at].process();
        let (status, _) = wait_for("a server to end", secs(20), async || {
            process.ended().ok_or("it runs".to_owned())
        })
        .await;
        assert!(status.success(), "{status}");
        servers[at].launch(&lab);
        servers[at].wait_ready().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut wanted = BTreeSet::new();
    for client in clients {
        wanted.extend(client.await.expect("no client panics"));
    }
    println!(
        "{} workloads acknowledged through four restarts",
        wanted.len()
    );
    assert!(wanted.len() > 20, "too few to show anything: {wanted:?}");
    for door in &doors {
        let (running, _) = wait_for("what was acknowledged to run", secs(60), async || {
            door.all_running(wanted.len()).await
        })
        .await;
        let ids = running.iter().filter_map(|w| w["id"].as_str());
        let ids: BTreeSet<_> = ids.map(ToOwned::to_owned).collect();
        assert_eq!(ids, wanted);
    }
    // Nothing was moved, so every workload was started once, anywhere.
    let mut made: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for agent in &agents {
        assert_eq!(agent.book().complaints(), Vec::<String>::new());
        for (id, count) in agent.book().artifacts_made() {
            *made.entry(id).or_default() += count;
        }
    }
    let twice: Vec<_> = made.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "made twice: {twice:?}");
}

/// Creates workloads, each until it is acknowledged by some server, until told to stop.
async fn write_all_the_time(
    doors: Vec<Rest>,
    client: usize,
    stop: Arc<AtomicBool>,
) -> BTreeSet<String> {
    let (mut wanted, mut number, mut door) = (BTreeSet::new(), 0, client);
    while !stop.load(Ordering::Relaxed) {
        let id = format!("r{client}-{number:04}");
        let body = container(&id, &["sleep"], 0.01, 8).to_string().into_bytes();
        loop {
            door += 1;
            let rest = &doors[door % doors.len()];
            let answer = rest
                .send(Method::POST, "/workloads", Some(body.clone()))
                .await;
            match answer {
                Ok(answer) if (200..300).contains(&answer.status) => break,
                // No server, no leader, or a leader that went away in the middle.
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        wanted.insert(id);
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wanted
}
