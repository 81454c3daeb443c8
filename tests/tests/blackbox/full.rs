//! A store without space: found out by a write, told as read-only, left alone but for a probe, and
//! over as soon as the operator has made room.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_tests::berth::FAST;
use berth_tests::workloads::container;
use berth_tests::{Etcd, FakeAgentOptions, History, Lab, Rest, Server, secs, wait_for};

use crate::{Scheduler, create, metric};

/// Small enough to be filled within a second.
const QUOTA: &str = "--quota-backend-bytes=16777216";
/// A stranger's.
const JUNK: &str = "junk/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_read_only_for_a_write_and_heals_without_flapping() {
    let lab = Lab::new("full");
    let scheduler = over_small_store(&lab).await;
    let options = FakeAgentOptions::new("node-1", 8_000, 8_192);
    let agents = scheduler.fake_agents(vec![options]).await;
    let rest = scheduler.server.rest();
    create(&rest, [sleeps("before")]).await;
    wait_for("it to run", secs(20), async || rest.all_running(1).await).await;
    let elections = elections(&rest).await;
    let states = watch_states(rest.clone());

    fill(&scheduler.etcd).await;
    // Reading tells nothing.
    let read = rest.get("/workloads/before?consistency=strong").await;
    let _ = read.expect("an answer").ok();
    assert_eq!(store_state(&rest).await, Ok("fine".to_owned()));
    // The first write finds out; the next ones are refused here.
    for id in ["full-1", "full-2"] {
        let refused = rest.post("/workloads", &sleeps(id)).await;
        let refused = refused.expect("an answer");
        assert_eq!(refused.status, 507, "{}", refused.text);
        assert!(refused.text.contains("space"), "{}", refused.text);
        said_read_only(&rest).await;
    }
    // Reads go on, from a leader that leads.
    let read = rest.get("/workloads?consistency=strong&limit=10").await;
    let read = read.expect("an answer").ok();
    assert_eq!(read.body["items"].as_array().map(Vec::len), Some(1));

    make_room(&scheduler.etcd).await;
    let (_, took) = wait_for(
        "the store to be fine",
        secs(40),
        async || match store_state(&rest).await?.as_str() {
            "fine" => Ok(()),
            other => Err(other.to_owned()),
        },
    )
    .await;
    crate::measured("a store with room again is fine", took);
    let ready = rest.get("/readyz").await.expect("an answer");
    assert_eq!(ready.status, 200, "{}", ready.text);
    create(&rest, [sleeps("after")]).await;
    wait_for("old and new to run", secs(20), async || {
        rest.all_running(2).await
    })
    .await;

    let seen = states.seen();
    assert_eq!(seen, ["fine", "read-only", "fine"], "it flapped");
    assert_eq!(self::elections(&rest).await, elections, "it led throughout");
    assert_eq!(agents[0].book().held(), ["after", "before"]);
}

async fn over_small_store(lab: &Lab) -> Scheduler {
    let etcd = Etcd::start_with(lab, &[QUOTA]).await;
    let history = History::record(&etcd);
    let server = Server::start(lab, &etcd, &FAST).await;
    Scheduler {
        server,
        history,
        etcd,
    }
}

fn sleeps(id: &str) -> serde_json::Value {
    container(id, &["sleep"], 0.1, 16)
}

/// Writes until etcd refuses to.
async fn fill(etcd: &Etcd) {
    let mut client = etcd.client().await;
    let much = vec![b'x'; 1 << 20];
    for number in 0..100 {
        let put = client.put(format!("{JUNK}{number}"), much.clone(), None);
        if let Err(error) = put.await {
            assert!(error.to_string().contains("space exceeded"), "{error}");
            return;
        }
    }
    panic!("the store is larger than its quota");
}

/// As the guide to operations says.
async fn make_room(etcd: &Etcd) {
    let _ = etcd.etcdctl(&["del", "--prefix", JUNK]);
    let revision = etcd.revision().await.to_string();
    let _ = etcd.etcdctl(&["compaction", &revision]);
    let _ = etcd.etcdctl(&["defrag"]);
    let _ = etcd.etcdctl(&["alarm", "disarm"]);
}

async fn store_state(rest: &Rest) -> Result<String, String> {
    let health = rest.get("/health").await?;
    let state = health.body["store"]["state"].as_str();
    Ok(state.unwrap_or_default().to_owned())
}

async fn said_read_only(rest: &Rest) {
    let health = rest.get("/health").await.expect("an answer").ok();
    let store = &health.body["store"];
    assert_eq!(store["state"], "read-only", "{}", health.text);
    assert_eq!(store["takesWrites"], false, "{}", health.text);
    assert_eq!(health.body["leading"], true, "{}", health.text);
    let ready = rest.get("/readyz").await.expect("an answer");
    assert_eq!(ready.status, 503, "{}", ready.text);
    assert!(ready.text.contains("space"), "{}", ready.text);
    let metrics = rest.get("/metrics").await.expect("an answer").ok().text;
    let state = metric(&metrics, "berth_store_state{state=\"read-only\"}");
    assert_eq!(state, Some("1"));
}

async fn elections(rest: &Rest) -> String {
    let metrics = rest.get("/metrics").await.expect("an answer").ok().text;
    let won = metric(&metrics, "berth_elections_won_total");
    won.expect("it is counted").to_owned()
}

/// The states of the store that health tells, each as long as it lasts.
struct States {
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl States {
    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no holder panics").clone()
    }
}

impl Drop for States {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks at the state from now on, all the time.
fn watch_states(rest: Rest) -> States {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        loop {
            let state = store_state(&rest).await.unwrap_or_else(|error| error);
            {
                let mut noted = noted.lock().expect("no holder panics");
                if noted.last() != Some(&state) {
                    noted.push(state);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    States { seen, task }
}
