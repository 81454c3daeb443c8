//! Many workloads at once: one is made through the API, and its records are copied in the store
//! under other ids, spread over the nodes, with an artifact at the agent for each.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_tests::{secs, wait_for};
use etcd_client::{GetOptions, Txn, TxnOp};

use crate::cluster::{Cluster, SERVERS};

/// The workload that is copied.
const MODEL: &str = "model-workload";
/// Operations of one transaction: etcd takes 128.
const OPERATIONS: usize = 120;

/// Fills the store of a cluster whose schedulers rest meanwhile, and waits until one leads and all
/// workloads run.
///
/// # Panics
/// When the store does not take the records.
pub async fn fill(cluster: &mut Cluster, count: usize) {
    let rest = cluster.wait_leader().await;
    let manifest = cluster.manifest(MODEL, 0, 0.001);
    let _ = rest
        .post("/workloads", &manifest)
        .await
        .expect("an answer")
        .ok();
    let (model, _) = wait_for("the model to run", secs(30), async || {
        let all = rest.all_running(1).await?;
        Ok(all[0].clone())
    })
    .await;
    let node = model["assigned_node"].as_str().expect("a node").to_owned();
    let revision = model["revision_id"]
        .as_str()
        .expect("a revision")
        .to_owned();

    for server in 0..SERVERS {
        cluster.kill_server(server);
    }
    let mut client = cluster.members.client().await.expect("etcd is healthy");
    let records = records(&mut client).await;
    assert!(records.len() >= 2, "the records of the model: {records:?}");
    let mut operations = Vec::new();
    for number in 0..count {
        let at = number % cluster.recorded.len();
        let (id, home) = (format!("w-{number:06}"), format!("recorded-{at}"));
        cluster.recorded[at].book().hold(&id, &revision);
        for (key, value) in &records {
            let copy = |text: &str| text.replace(MODEL, &id).replace(&node, &home);
            operations.push(TxnOp::put(copy(key), copy(value), None));
        }
    }
    for some in operations.chunks(OPERATIONS) {
        let put = client.txn(Txn::new().and_then(some.to_vec())).await;
        assert!(put.expect("etcd writes").succeeded());
    }
    for server in 0..SERVERS {
        cluster.launch_server(server);
    }
    let patience = Duration::from_secs(600);
    let (_, took) = wait_for("a leader over all workloads", patience, async || {
        let (leader, _) = cluster.leader().await.ok_or("nobody leads")?;
        let rest = cluster.rests(secs(60)).swap_remove(leader);
        let summary = rest.get("/summary").await?;
        let running = summary.body["running_workloads"].as_u64();
        if running.is_some_and(|n| n > count as u64) {
            Ok(())
        } else {
            Err(summary.text)
        }
    })
    .await;
    println!(
        "{count} workloads run {:.1} s after the first start",
        took.as_secs_f64()
    );
}

/// The records of the model: those of its own keys, and no events.
async fn records(client: &mut etcd_client::Client) -> BTreeMap<String, String> {
    let all = client
        .get("/", Some(GetOptions::new().with_prefix()))
        .await
        .expect("etcd answers");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = all
        .kvs()
        .iter()
        .map(|kv| (text(kv.key()), text(kv.value())));
    let suffix = format!("/{MODEL}");
    all.filter(|(key, _)| key.ends_with(&suffix)).collect()
}
