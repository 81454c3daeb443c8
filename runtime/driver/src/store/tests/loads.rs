//! What a new leader knows.

use super::*;

#[tokio::test(start_paused = true)]
async fn everything_below_the_prefix_is_loaded_page_by_page() {
    let net = Net::new();
    let mut client = net.client().await;
    for n in 0..25 {
        client
            .put(format!("/berth/workloads/w{n:02}"), format!("{n}"), None)
            .await
            .unwrap();
    }
    client.put("/berth/meta/quotas", "q", None).await.unwrap();
    client.put("/berth/skydns/x", "s", None).await.unwrap();
    client
        .put("/berth/nodes/n", vec![0xff], None)
        .await
        .unwrap();
    client
        .put("/berthier/workloads/other", "o", None)
        .await
        .unwrap();
    client.put("/workloads/other", "o", None).await.unwrap();
    for page_keys in [1, 4, 14, 28, 29, 3_000] {
        let paged = StoreConfig {
            page_keys,
            ..config()
        };
        let mut subject = Subject::start(&net, "a", paged);
        let (_, snapshot) = subject.leads().await;
        let found: Vec<_> = snapshot
            .records
            .iter()
            .map(|record| record.key.to_string())
            .collect();
        let mut expected = vec!["/meta/quotas".to_owned()];
        expected.extend((0..25).map(|n| format!("/workloads/w{n:02}")));
        assert_eq!(found, expected, "pages of {page_keys}");
        assert_eq!(snapshot.strangers, ["/berth/nodes/n", "/berth/skydns/x"]);
        assert_eq!(snapshot.records[3].value.as_deref(), Some("2"));
        assert!(snapshot.records[3].mod_revision > snapshot.records[2].mod_revision);
        subject.stop.cancel();
        subject.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_and_an_empty_prefix_are_loaded_too() {
    let net = Net::new();
    let bare = StoreConfig {
        prefix: String::new(),
        ..config()
    };
    let mut subject = Subject::start(&net, "a", bare);
    let (term, snapshot) = subject.leads().await;
    assert!(snapshot.records.is_empty() && snapshot.strangers.is_empty());
    order(&term, 1, &[("a", 0)], vec![put("a", "1")]);
    assert!(matches!(subject.fate().await.1, Fate::Committed(_)));
    let answer = net.client().await.get("/workloads/a", None).await.unwrap();
    assert_eq!(answer.count(), 1);
}
