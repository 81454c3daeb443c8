//! What was acknowledged is there, however the process ended.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_store::{EmbeddedStore, StoreError, StoreOptions};
use etcd_client::{Client, CompactionOptions, GetOptions, LeaseGrantOptions, PutOptions};

/// Tells the child process where to serve from.
const CHILD_DIR: &str = "BERTH_STORE_TEST_CHILD_DIR";
const ANNOUNCEMENT: &str = "listening on ";
const PATIENCE: Duration = Duration::from_secs(30);

/// Not a test by itself: the body of the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let store = EmbeddedStore::open_with(Some(Path::new(&dir)), small_log()).unwrap();
    let address = store
        .serve_tcp("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    println!("{ANNOUNCEMENT}{address}");
    store.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9() {
    const ROUNDS: usize = 4;
    const WRITERS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for round in 0..ROUNDS {
        let (mut child, url) = start_child(dir.path());
        let client = Client::connect([&url], None).await.unwrap();
        check(client.clone(), &acknowledged).await;
        let (acks, mut acked) = tokio::sync::mpsc::unbounded_channel();
        for writer in 0..WRITERS {
            tokio::spawn(write_until_error(
                client.clone(),
                round,
                writer,
                acks.clone(),
            ));
        }
        drop(acks);
        let mut count = 0;
        while let Some((key, value, revision)) = acked.recv().await {
            let entry = acknowledged.entry(key).or_default();
            *entry = (*entry).max((value, revision));
            count += 1;
            if count == 300 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(
            count >= 300,
            "the writers ended early, after {count} writes"
        );
    }
    let store = open_when_free(dir.path()).await;
    check(store.client().await.unwrap(), &acknowledged).await;
    store.shutdown().await;
}

/// Puts a growing number until the server is gone.
async fn write_until_error(
    mut client: Client,
    round: usize,
    writer: usize,
    acks: tokio::sync::mpsc::UnboundedSender<(String, u64, i64)>,
) {
    for value in (round as u64 * 1_000_000).. {
        let key = format!("w{writer}-{}", value % 5);
        let Ok(answer) = client.put(key.clone(), value.to_string(), None).await else {
            return;
        };
        let revision = answer.header().unwrap().revision();
        if acks.send((key, value, revision)).is_err() {
            return;
        }
    }
}

/// Every key holds what was acknowledged last, or something that was sent after it.
async fn check(mut client: Client, acknowledged: &BTreeMap<String, (u64, i64)>) {
    let all = client
        .get("w", Some(GetOptions::new().with_prefix()))
        .await
        .unwrap();
    let stored: BTreeMap<String, (u64, i64)> = all
        .kvs()
        .iter()
        .map(|kv| {
            let value = kv.value_str().unwrap().parse().unwrap();
            (kv.key_str().unwrap().to_owned(), (value, kv.mod_revision()))
        })
        .collect();
    for (key, acknowledged) in acknowledged {
        let stored = stored.get(key).unwrap_or_else(|| panic!("{key} is lost"));
        assert!(
            stored >= acknowledged,
            "{key}: {acknowledged:?} was lost, {stored:?} is there"
        );
        let same = stored.0 == acknowledged.0;
        assert!(
            !same || stored.1 == acknowledged.1,
            "{key} changed its revision"
        );
    }
}

#[tokio::test]
async fn dropping_a_store_without_shutdown_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Some(dir.path())).unwrap();
    let mut client = store.client().await.unwrap();
    let lease = LeaseGrantOptions::new().with_id(5);
    client.lease_grant(50, Some(lease)).await.unwrap();
    for number in 0..50 {
        let put = PutOptions::new().with_lease(if number % 2 == 0 { 5 } else { 0 });
        client
            .put(format!("k{number:02}"), format!("{number}"), Some(put))
            .await
            .unwrap();
    }
    client.delete("k07", None).await.unwrap();
    client
        .compact(20, Some(CompactionOptions::new()))
        .await
        .unwrap();
    let everything = || Some(GetOptions::new().with_all_keys());
    let before = client.get("", everything()).await.unwrap();
    drop(store);

    let store = open_when_free(dir.path()).await;
    let mut client = store.client().await.unwrap();
    let after = client.get("", everything()).await.unwrap();
    assert_eq!(after.0, before.0);
    let lease = client.lease_time_to_live(5, None).await.unwrap();
    assert_eq!(
        (lease.granted_ttl(), lease.ttl() >= 49),
        (50, true),
        "leases start anew"
    );
    let old = client
        .get("k00", Some(GetOptions::new().with_revision(19)))
        .await;
    assert!(
        old.unwrap_err().to_string().contains("compacted"),
        "compaction is durable"
    );
    client.lease_revoke(5).await.unwrap();
    assert_eq!(client.get("", everything()).await.unwrap().count(), 24);
    store.shutdown().await;
}

#[tokio::test]
async fn the_log_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open_with(Some(dir.path()), small_log()).unwrap();
    let mut client = store.client().await.unwrap();
    let mut sizes = Vec::new();
    for round in 0..8 {
        for number in 0..100 {
            let value = vec![b'x'; 4096];
            client
                .put(format!("k{}", number % 10), value, None)
                .await
                .unwrap();
        }
        client.compact(1 + 100 * (round + 1), None).await.unwrap();
        sizes.push(
            std::fs::metadata(dir.path().join("store.redb"))
                .unwrap()
                .len(),
        );
    }
    let (early, late) = (sizes[3], sizes[7]);
    assert!(late <= early * 5 / 4, "the file keeps growing: {sizes:?}");
    store.shutdown().await;
}

#[tokio::test]
async fn a_directory_belongs_to_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Some(dir.path())).unwrap();
    let second = EmbeddedStore::open(Some(dir.path())).map(|_| ());
    assert!(matches!(second, Err(StoreError::InUse { .. })));
    store.shutdown().await;
    EmbeddedStore::open(Some(dir.path()))
        .unwrap()
        .shutdown()
        .await;
}

fn small_log() -> StoreOptions {
    StoreOptions {
        log_bytes_max: 64 * 1024,
        ..StoreOptions::default()
    }
}

/// Another process, or a task that ends, may hold the directory for a moment.
async fn open_when_free(dir: &Path) -> EmbeddedStore {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match EmbeddedStore::open_with(Some(dir), small_log()) {
            Ok(store) => return store,
            Err(StoreError::InUse { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("cannot open the store again: {error}"),
        }
    }
}

/// Runs this test binary as a server of the directory; answers with its address.
fn start_child(dir: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    for line in output.lines() {
        // The harness may print on the same line before it.
        if let Some((_, address)) = line.unwrap().split_once(ANNOUNCEMENT) {
            return (child, format!("http://{address}"));
        }
    }
    panic!("the child ended without serving: {:?}", child.wait());
}
