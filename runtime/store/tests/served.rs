//! The store through an ordinary etcd client, and through `etcdctl`.

use std::process::Command;
use std::time::{Duration, Instant};

use berth_kv::Limits;
use berth_store::{EmbeddedStore, StoreOptions};
use etcd_client::{
    Compare, CompareOp, EventType, GetOptions, PutOptions, Txn, TxnOp, WatchOptions,
};

#[tokio::test]
async fn keys_are_written_compared_and_read() {
    let store = EmbeddedStore::open(None).unwrap();
    let mut client = store.client().await.unwrap();
    client.put("/nodes/a", "one", None).await.unwrap();
    let txn = Txn::new()
        .when([Compare::version("/nodes/a", CompareOp::Equal, 1)])
        .and_then([TxnOp::put("/nodes/b", "two", None)])
        .or_else([TxnOp::get("/nodes/a", None)]);
    assert!(client.txn(txn.clone()).await.unwrap().succeeded());
    client.put("/nodes/a", "three", None).await.unwrap();
    assert!(!client.txn(txn).await.unwrap().succeeded());
    let all = client
        .get("/nodes/", Some(GetOptions::new().with_prefix()))
        .await
        .unwrap();
    let values: Vec<_> = all.kvs().iter().map(|kv| kv.value_str().unwrap()).collect();
    assert_eq!(values, ["three", "two"]);
    assert_eq!(all.header().unwrap().revision(), 4);
    store.shutdown().await;
}

#[tokio::test]
async fn watches_see_the_past_and_what_comes() {
    let store = EmbeddedStore::open(None).unwrap();
    let mut client = store.client().await.unwrap();
    client.put("k", "past", None).await.unwrap();
    let options = WatchOptions::new().with_start_revision(2).with_prev_key();
    let mut watch = client.watch("k", Some(options)).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());
    let past = watch.message().await.unwrap().unwrap();
    assert_eq!(past.events()[0].kv().unwrap().value(), b"past");
    client.delete("k", None).await.unwrap();
    let gone = watch.message().await.unwrap().unwrap();
    assert_eq!(gone.events()[0].event_type(), EventType::Delete);
    assert_eq!(gone.events()[0].prev_kv().unwrap().value(), b"past");
    watch.cancel(gone.watch_id()).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().canceled());
    store.shutdown().await;
}

#[tokio::test]
async fn a_lease_that_is_not_kept_takes_its_keys_along() {
    let limits = Limits {
        min_lease_ttl_s: 1,
        ..Limits::default()
    };
    let options = StoreOptions {
        limits,
        ..StoreOptions::default()
    };
    let store = EmbeddedStore::open_with(None, options).unwrap();
    let mut client = store.client().await.unwrap();
    let lease = client.lease_grant(1, None).await.unwrap();
    let put = PutOptions::new().with_lease(lease.id());
    client.put("leader", "me", Some(put)).await.unwrap();
    let mut watch = client.watch("leader", None).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());
    let (mut keeper, mut answers) = client.lease_keep_alive(lease.id()).await.unwrap();
    let renewed = Instant::now();
    keeper.keep_alive().await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl(), 1);
    let end = watch.message().await.unwrap().unwrap();
    assert_eq!(end.events()[0].event_type(), EventType::Delete);
    assert!(
        renewed.elapsed() >= Duration::from_secs(1),
        "{:?}",
        renewed.elapsed()
    );
    keeper.keep_alive().await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl(), 0);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_read_late_misses_nothing() {
    const PUTS: i64 = 3_000;
    let store = EmbeddedStore::open(None).unwrap();
    let mut client = store.client().await.unwrap();
    let all = WatchOptions::new().with_prefix();
    let mut watch = client.watch("k", Some(all)).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());
    for number in 0..PUTS {
        // Larger than what the connection and the stream's queue hold together.
        client
            .put(format!("k{}", number % 7), vec![b'x'; 2048], None)
            .await
            .unwrap();
    }
    let mut next = 2;
    while next < 2 + PUTS {
        for event in watch.message().await.unwrap().unwrap().events() {
            assert_eq!(event.kv().unwrap().mod_revision(), next);
            next += 1;
        }
    }
    store.shutdown().await;
}

#[tokio::test]
async fn all_leases_can_be_revoked_at_once() {
    let store = EmbeddedStore::open(None).unwrap();
    let mut client = store.client().await.unwrap();
    for id in [10, 20] {
        let options = etcd_client::LeaseGrantOptions::new().with_id(id);
        client.lease_grant(60, Some(options)).await.unwrap();
        let put = PutOptions::new().with_lease(id);
        client.put(format!("k{id}"), "v", Some(put)).await.unwrap();
    }
    assert_eq!(store.revoke_all_leases().await.unwrap(), 2);
    assert_eq!(client.leases().await.unwrap().leases().len(), 0);
    let left = client
        .get("k", Some(GetOptions::new().with_prefix()))
        .await
        .unwrap();
    assert_eq!(left.count(), 0);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_works_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Some(dir.path())).unwrap();
    let address = store
        .serve_tcp("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let mut client = store.client().await.unwrap();
    client
        .put("/workloads/w-1", "{\"id\":\"w-1\"}", None)
        .await
        .unwrap();
    let read = etcdctl(address, &["get", "--prefix", "/"]).await;
    assert_eq!(read, "/workloads/w-1\n{\"id\":\"w-1\"}\n");
    etcdctl(address, &["put", "/workloads/w-2", "x"]).await;
    assert_eq!(client.get("/workloads/w-2", None).await.unwrap().count(), 1);
    let status = etcdctl(address, &["endpoint", "status", "--write-out=fields"]).await;
    assert!(status.contains("\"Revision\" : 3"), "{status}");
    etcdctl(address, &["endpoint", "health"]).await;
    let members = etcdctl(address, &["member", "list"]).await;
    assert!(members.contains(&address.to_string()), "{members}");
    let lease = etcdctl(address, &["lease", "grant", "60"]).await;
    assert!(lease.contains("granted with TTL(60s)"), "{lease}");
    store.shutdown().await;
}

async fn etcdctl(address: std::net::SocketAddr, args: &[&str]) -> String {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let run = move || {
        Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={address}"))
            .args(&args)
            .output()
            .expect("etcdctl (Debian: etcd-client) must be installed for this test")
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "etcdctl failed: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
