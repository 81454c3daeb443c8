//! What others change.

use super::*;

#[tokio::test(start_paused = true)]
async fn changes_are_told_and_no_break_loses_or_reorders_any() {
    let net = Net::new();
    let mut client = net.client().await;
    let mut subject = Subject::start(&net, "a", config());
    let (_term, _) = subject.leads().await;
    let mut told: i64 = 0;
    for round in 0..6 {
        // Every other round it happens while the connection is broken.
        if round % 2 == 1 {
            net.cut();
        }
        for n in 0..5 {
            let number = round * 5 + n;
            let put = client.put("/berth/workloads/a", number.to_string(), None);
            let written = put.await.unwrap().header().unwrap().revision();
            client.put("/berth/events/1", "{}", None).await.unwrap();
            client.put("/elsewhere", "", None).await.unwrap();
            // What was told before may be told again after a break.
            let (revision, records) = loop {
                let change = subject.change().await;
                if change.0.0 > told {
                    break change;
                }
            };
            told = revision.0;
            assert_eq!(revision.0, written);
            assert_eq!(records.len(), 1);
            assert_eq!(
                records[0].value.as_deref(),
                Some(number.to_string().as_str())
            );
            assert_eq!(records[0].mod_revision, revision);
        }
    }
    client.delete("/berth/workloads/a", None).await.unwrap();
    let (revision, records) = loop {
        let change = subject.change().await;
        if change.0.0 > told {
            break change;
        }
    };
    // The revision of the removal: an echo that comes after a later write is no news by it.
    assert_eq!(
        (&records[0].value, records[0].mod_revision),
        (&None, revision)
    );
    assert!(subject.leadership.is_empty(), "it leads without a break");
}

#[tokio::test(start_paused = true)]
async fn changes_that_were_compacted_away_unseen_start_a_new_term() {
    let net = Net::new();
    let mut client = net.client().await;
    let patient = StoreConfig {
        lease_ttl: Duration::from_secs(600),
        ..config()
    };
    let mut subject = Subject::start(&net, "a", patient);
    let (term, _) = subject.leads().await;
    net.set_refusing(true);
    net.cut();
    let mut last = 0;
    for n in 0..10 {
        let put = client
            .put("/berth/workloads/a", n.to_string(), None)
            .await
            .unwrap();
        last = put.header().unwrap().revision();
    }
    client.compact(last, None).await.unwrap();
    net.set_refusing(false);
    assert_eq!(subject.deposed().await, Deposed::LostLeadership);
    let (next, snapshot) = subject.leads().await;
    assert!(next.epoch > term.epoch, "what was in flight is fenced off");
    assert_eq!(snapshot.records[0].value.as_deref(), Some("9"));
}

#[tokio::test(start_paused = true)]
async fn history_is_compacted_on_schedule() {
    let net = Net::new();
    let mut client = net.client().await;
    let often = StoreConfig {
        compact_interval: Some(Duration::from_secs(60)),
        compact_keep: 5,
        ..config()
    };
    let mut subject = Subject::start(&net, "a", often);
    let (_term, _) = subject.leads().await;
    for n in 0..20 {
        client
            .put("/berth/meta/a", n.to_string(), None)
            .await
            .unwrap();
        subject.change().await;
    }
    tokio::time::sleep(Duration::from_secs(130)).await;
    let newest = net.store.revision().await.unwrap();
    let at = |revision| Some(etcd_client::GetOptions::new().with_revision(revision));
    assert!(
        client.get("/berth/meta/a", at(newest - 6)).await.is_err(),
        "compacted"
    );
    assert!(
        client.get("/berth/meta/a", at(newest - 4)).await.is_ok(),
        "kept"
    );
}
