//! The differential test: the same random histories against the model, served by the embedded
//! store, and against a real etcd, through the same client; every answer is compared field by
//! field, and every event that watches see.
//!
//! `BERTH_DIFF_OPS` sets the operations per seed, `BERTH_DIFF_SEED` runs one seed alone.
//!
//! Normalised, and nothing else: the ids of cluster and member and the raft term (only whether
//! they are present is compared), the time that a lease has left, the ids of leases that the
//! server chose, the order of what etcd returns in no order (the keys of a lease, leases, records
//! that tie in a sort of more than twelve), and how a watch that catches up groups events.

mod answer;
mod etcd;
mod history;
mod side;
mod watching;

use std::time::Duration;

use berth_kv::WatchId;
use berth_store::EmbeddedStore;
use etcd_client::{LeaseGrantOptions, PutOptions};

use crate::etcd::RealEtcd;
use crate::history::{History, Op};
use crate::side::Side;
use crate::watching::{Streams, WatchOp};

/// Operations per seed when `BERTH_DIFF_OPS` does not say otherwise.
const DEFAULT_OPS: usize = 3_000;
const DEFAULT_SEEDS: [u64; 3] = [1, 2, 3];
/// Operations between two comparisons of what watches saw.
const OPS_PER_SYNC: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_have_the_same_answers() {
    let ops = from_env("BERTH_DIFF_OPS").unwrap_or(DEFAULT_OPS as u64) as usize;
    let seeds = match from_env("BERTH_DIFF_SEED") {
        Some(seed) => vec![seed],
        None => DEFAULT_SEEDS.to_vec(),
    };
    for seed in seeds {
        println!("seed {seed}, {ops} operations");
        run(seed, ops).await;
    }
}

fn from_env(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}")),
    )
}

/// Plays one history to both; panics at the first difference.
async fn run(seed: u64, ops: usize) {
    let etcd = RealEtcd::start().await;
    let store = EmbeddedStore::open(None).unwrap();
    let mut real = Side::new("etcd", etcd.client().await);
    let mut model = Side::new("model", store.client().await.unwrap());
    let mut streams = Streams::default();
    let mut history = History::new(seed);
    let report = Report { seed, ops };

    for step in 0..ops {
        let op = history.next_op();
        let outcome = match &op {
            Op::Request(request) => {
                if matches!(request, berth_kv::Request::Compact { .. }) {
                    streams
                        .sync(&mut real, &mut model)
                        .await
                        .unwrap_or_else(|d| report.fail(step, &op, d));
                }
                let (theirs, ours) = (real.ask(request).await, model.ask(request).await);
                history.learn(request, &ours);
                if theirs == ours {
                    Ok(())
                } else {
                    Err(format!("  etcd:  {theirs:?}\n  model: {ours:?}"))
                }
            }
            Op::Watch(watch) => streams.act(&mut real, &mut model, watch).await,
        };
        outcome.unwrap_or_else(|difference| report.fail(step, &op, difference));
        if step % OPS_PER_SYNC == 0 {
            let synced = streams.sync(&mut real, &mut model).await;
            synced.unwrap_or_else(|difference| report.fail(step, &op, difference));
        }
        history.set_revision(model.revision());
    }
    let synced = streams.sync(&mut real, &mut model).await;
    synced.unwrap_or_else(|d| report.fail(ops, &Op::Watch(WatchOp::Progress { stream: 0 }), d));
    println!("  {}", history.summary());
    println!("  {}", streams.summary());
    store.shutdown().await;
}

/// How to say that the two differ.
struct Report {
    seed: u64,
    ops: usize,
}

impl Report {
    fn fail(&self, step: usize, op: &Op, difference: String) -> ! {
        let Report { seed, ops } = self;
        panic!(
            "seed {seed}, step {step}: etcd and the model differ\n  after {op:?}\n{difference}\n\
             reproduce: BERTH_DIFF_SEED={seed} BERTH_DIFF_OPS={ops} \
             cargo test -p berth-store --test differential random_histories -- --nocapture"
        );
    }
}

/// A lease that ends by itself deletes its keys in one transaction, in their order, on both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_expire_alike() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let etcd = RealEtcd::start().await;
    let store = EmbeddedStore::open(None).unwrap();
    let clients = [etcd.client().await, store.client().await.unwrap()];
    let mut seen = Vec::new();
    for mut client in clients {
        let options = LeaseGrantOptions::new().with_id(77);
        let granted = client.lease_grant(1, Some(options)).await.unwrap();
        assert_eq!(granted.ttl(), 2, "etcd's shortest lease");
        for key in ["b", "a", "c"] {
            let put = PutOptions::new().with_lease(77);
            client.put(key, "leased", Some(put)).await.unwrap();
        }
        let all = etcd_client::WatchOptions::new()
            .with_all_keys()
            .with_prev_key();
        let mut watch = client.watch("", Some(all)).await.unwrap();
        watch.message().await.unwrap().unwrap();
        let expired = tokio::time::timeout(PATIENCE, watch.message()).await;
        let expired = expired.expect("the lease must end").unwrap().unwrap();
        let mut message = expired.0;
        answer::normalise_header(&mut message.header);
        let list = client.leases().await.unwrap();
        let gone = client.lease_time_to_live(77, None).await.unwrap();
        seen.push((message, list.leases().len(), gone.ttl(), gone.granted_ttl()));
    }
    assert_eq!(seen[0].0.events.len(), 3);
    assert_eq!(seen[0], seen[1]);
    store.shutdown().await;
}

/// The id under which each stream keeps the watch that marks how far it is read.
const MARKER_WATCH: WatchId = WatchId(1_000_000);
