//! A store that was restored from an older snapshot: refused, and said everywhere, until the operator
//! says that it is to be believed.

use std::process::Command;

use berth_tests::berth::{binary, text_of};
use berth_tests::wait::holds_for;
use berth_tests::workloads::container;
use berth_tests::{Answer, FakeAgentOptions, Lab, Rest, secs, wait_for};

use crate::{Scheduler, create, metric};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_store_is_refused_until_the_operator_believes_it() {
    let lab = Lab::new("restored");
    let seen = format!("--seen-file={}", lab.path("seen.json").display());
    let mut scheduler = Scheduler::start(&lab, &[&seen]).await;
    let options = FakeAgentOptions::new("node-1", 8_000, 8_192);
    let agents = scheduler.fake_agents(vec![options]).await;
    let (rest, book) = (scheduler.server.rest(), agents[0].book());
    create(&rest, [sleeps("kept")]).await;
    wait_for("it to run", secs(20), async || rest.all_running(1).await).await;
    let snapshot = lab.path("backup.db");
    let saved = ["snapshot", "save", &snapshot.display().to_string()].map(ToOwned::to_owned);
    let _ = scheduler
        .etcd
        .etcdctl(&saved.each_ref().map(String::as_str));
    // So far that nothing that is written to the restored store makes up for it.
    for number in 0..20 {
        let put = ["put", "elsewhere", &number.to_string()].map(ToOwned::to_owned);
        let _ = scheduler.etcd.etcdctl(&put.each_ref().map(String::as_str));
    }
    create(&rest, [sleeps("late")]).await;
    wait_for("both to run", secs(20), async || rest.all_running(2).await).await;
    let (told, epoch) = (book.mutations(), health(&rest).await["epoch"].clone());

    // The scheduler lives through it, and remembers.
    scheduler.etcd.restore(&lab, &snapshot).await;
    let why = refused(&rest).await;
    assert!(why.contains("restored from an older snapshot"), "{why}");
    holds_for("the refusal", secs(2), async || is_refused(&rest).await).await;
    // What was seen is still told, as old; nothing is taken.
    let read = rest
        .get("/workloads?limit=10")
        .await
        .expect("an answer")
        .ok();
    assert_eq!(read.body["stale"], true, "{}", read.text);
    assert_eq!(read.body["items"].as_array().map(Vec::len), Some(2));
    let write = rest.post("/workloads", &sleeps("never")).await;
    assert_eq!(write.expect("an answer").status, 503);

    // Its next life remembers too.
    scheduler.server.kill();
    scheduler.server.launch(&lab);
    let why = refused(&rest).await;
    holds_for("the refusal", secs(2), async || is_refused(&rest).await).await;
    assert_eq!(book.mutations(), told, "an agent was told something");

    let generation = named_generation(&why);
    let output = Command::new(binary())
        .args(["store", "accept-restore"])
        .args(["--generation", &generation])
        .args(["--etcd", &scheduler.etcd.url()])
        .output()
        .expect("berth starts");
    assert!(output.status.success(), "{}", text_of(&output));
    scheduler.server.wait_ready().await;
    wait_for("the store to be fine", secs(20), async || {
        let metrics = rest.get("/metrics").await?.ok().text;
        match metric(&metrics, "berth_store_state{state=\"fine\"}") {
            Some("1") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    // The agent obeys the new leader; what the snapshot knows was not touched.
    let later = health(&rest).await["epoch"].clone();
    assert!(later.as_i64() > epoch.as_i64(), "{later} after {epoch}");
    create(&rest, [sleeps("after")]).await;
    wait_for("old and new to run", secs(20), async || {
        rest.all_running(2).await
    })
    .await;
    let lost = rest.get("/workloads/late").await.expect("an answer");
    assert_eq!(lost.status, 404, "{}", lost.text);
    assert_eq!(book.held(), ["after", "kept", "late"]);
    let made = book.artifacts_made();
    assert!(made.values().all(|times| *times == 1), "{made:?}");
}

fn sleeps(id: &str) -> serde_json::Value {
    container(id, &["sleep"], 0.1, 16)
}

async fn health(rest: &Rest) -> serde_json::Value {
    let answer: Answer = rest.get("/health").await.expect("an answer").ok();
    answer.body
}

/// Waits until the store is refused: why.
async fn refused(rest: &Rest) -> String {
    wait_for("the store to be refused", secs(30), async || {
        is_refused(rest).await
    })
    .await;
    let health = health(rest).await;
    health["store"]["why"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Every door says it.
async fn is_refused(rest: &Rest) -> Result<(), String> {
    let health = rest.get("/health").await?;
    let state = &health.body["store"]["state"];
    let leading = &health.body["leading"];
    if state != "refused" || leading != false {
        return Err(format!("health: {}", health.text));
    }
    let ready = rest.get("/readyz").await?;
    if ready.status != 503 || !ready.text.contains("accept-restore") {
        return Err(format!("readyz: {} {}", ready.status, ready.text));
    }
    let metrics = rest.get("/metrics").await?.text;
    for (name, wanted) in [
        ("berth_store_state{state=\"refused\"}", "1"),
        ("berth_store_state{state=\"fine\"}", "0"),
        ("berth_leading", "0"),
    ] {
        let found = metric(&metrics, name);
        if found != Some(wanted) {
            return Err(format!("{name} is {found:?}"));
        }
    }
    Ok(())
}

/// The generation that a refusal tells the operator to name.
fn named_generation(why: &str) -> String {
    let (_, rest) = why.split_once("--generation ").expect("it names one");
    rest.chars().take_while(char::is_ascii_digit).collect()
}
