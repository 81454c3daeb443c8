//! A leader stands still for longer than its lease (`SIGSTOP`), another one leads meanwhile, and it
//! goes on as if nothing had been. What it had handed to its connections before may leave then; agents
//! refuse it by its epoch (S2, which the simulator and `agentd`'s tests judge).

use berth_faults::cluster::{Cluster, Size, stamp};
use berth_tests::{Answer, Lab, Rest, secs, wait_for};
use nix::sys::signal::Signal;
use reqwest::Method;

/// How often it happens: whoever leads then.
const ROUNDS: u32 = 3;
/// So many ask it for something strongly read while it stands still: some of them are heard before
/// anything else tells it that its term is over.
const READERS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_tells_nothing_that_is_over() {
    let size = Size {
        recorded: 4,
        cpu_millicores: 100_000,
        processes: 0,
        flags: vec!["--eviction-grace=10m".to_owned()],
        history: false,
    };
    let mut cluster = Cluster::start(Lab::new("stopped"), &size).await;
    let rest = cluster.wait_leader().await;
    let _accepted = put(&cluster, &rest, 0).await.expect("an answer").ok();
    for round in 1..=ROUNDS {
        stand_still(&mut cluster, round).await;
    }
}

/// One leader stands still for longer than its lease.
async fn stand_still(cluster: &mut Cluster, round: u32) {
    let ((old, epoch), _) = wait_for("a leader", secs(60), async || {
        let leader = cluster.leader().await;
        leader.ok_or_else(|| "nobody leads".to_owned())
    })
    .await;
    let rests = cluster.rests(secs(20));
    // Work for its agents that is not done yet: its calls and timers are due when it goes on.
    for number in 0..20 {
        let id = format!("busy-{round}-{number}");
        let manifest = cluster.manifest(&id, 0, 0.01);
        let _ = rests[old].post("/workloads", &manifest).await;
    }
    cluster.signal_server(old, Signal::SIGSTOP);
    wait_for("every thread of it to stand still", secs(30), async || {
        let still = cluster.stands_still(old);
        still.then_some(()).ok_or_else(|| "some run".to_owned())
    })
    .await;
    // What it is asked meanwhile lies in its sockets until it goes on.
    let read = format!("/workloads/{WORKLOAD}?consistency=strong");
    let reading: Vec<_> = (0..READERS)
        .map(|_| {
            let (asked, read) = (rests[old].clone(), read.clone());
            tokio::spawn(async move { asked.get(&read).await })
        })
        .collect();
    let late = format!("late-{round}");
    let (asked, manifest) = (rests[old].clone(), cluster.manifest(&late, 0, 0.01));
    let writing = tokio::spawn(async move { asked.post("/workloads", &manifest).await });
    wait_for("another leader to act", secs(60), async || {
        let agents = cluster.recorded.iter();
        let acted = agents.filter_map(|a| a.book().first_call_after(epoch));
        acted.min().ok_or_else(|| "no call".to_owned())
    })
    .await;
    let others: Vec<&Rest> = (0..rests.len())
        .filter(|n| *n != old)
        .map(|n| &rests[n])
        .collect();
    wait_for("a newer spec to be acknowledged", secs(60), async || {
        let answer = put(cluster, others[0], round).await?;
        (answer.status < 300).then_some(()).ok_or(answer.text)
    })
    .await;
    cluster.signal_server(old, Signal::SIGCONT);

    for reading in reading {
        let told = reading.await.expect("it does not panic");
        if let Some(told) = told.ok().filter(|told| told.status < 300) {
            let newest = stamp(round);
            assert!(
                told.text.contains(&newest),
                "an old spec as new: {}",
                told.text
            );
        }
    }
    let written = writing.await.expect("it does not panic");
    if written.is_ok_and(|answer| answer.status < 300) {
        // The new leader took it, and nobody else.
        let path = format!("/workloads/{late}?consistency=strong");
        let there = others[0].get(&path).await.expect("an answer");
        assert_eq!(there.status, 200, "{}", there.text);
    }
    wait_for("it to know that it leads no more", secs(30), async || {
        let health = rests[old].get("/health").await?;
        let leads = health.body["leading"] == true && health.body["epoch"] == epoch;
        (!leads).then_some(()).ok_or(health.text)
    })
    .await;
}

/// The workload that is changed in every round.
const WORKLOAD: &str = "changed";

async fn put(cluster: &Cluster, rest: &Rest, generation: u32) -> Result<Answer, String> {
    let manifest = cluster.manifest(WORKLOAD, generation, 0.01);
    let body = Some(manifest.to_string().into_bytes());
    let (method, path) = match generation {
        0 => (Method::POST, "/workloads".to_owned()),
        _ => (Method::PUT, format!("/workloads/{WORKLOAD}")),
    };
    rest.send(method, &path, body).await
}
