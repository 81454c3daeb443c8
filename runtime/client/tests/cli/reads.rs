//! What is said of answers of a server that does not lead.

use berth_client::Exit;
use serde_json::{Value, json};

use crate::berth;
use crate::server::{Answer, Server, workload};

/// `/status` of a server that follows.
fn follows(leader: Option<&str>, store: Value) -> Answer {
    let health = json!({"mode": "standby", "leading": false, "leader": leader, "store": store});
    Answer::json(
        200,
        json!({"leading": false, "revision": 88, "health": health}),
    )
}

fn page(age_ms: u64) -> Answer {
    let items = [workload("a", "Running")];
    let page =
        json!({"items": items, "more": false, "revision": 88, "stale": true, "age_ms": age_ms});
    Answer::json(200, page)
}

#[tokio::test]
async fn an_answer_of_a_healthy_follower_is_not_called_old() {
    let server = Server::start().await;
    let fine = json!({"available": true, "error": "", "state": "fine", "why": ""});
    server.always("GET", "/status", follows(Some("one"), fine));
    server.on("GET", "/workloads", page(2_400));
    let ran = berth(server.url(), "get workloads").await;
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""));
    server.on("GET", "/workloads", page(70_000));
    let ran = berth(server.url(), "get workloads").await;
    assert_eq!(
        ran.err,
        "note: this may be old: the store told nothing for 1m10s; this is revision 88, of 1m10s \
         ago\n"
    );
    assert!(ran.out.contains("Running"), "{}", ran.out);
}

#[tokio::test]
async fn without_a_leader_or_a_store_it_is_said_why_an_answer_may_be_old() {
    let server = Server::start().await;
    server.always("GET", "/workloads", page(400));
    let fine = json!({"available": true, "error": "", "state": "fine", "why": ""});
    server.on("GET", "/status", follows(None, fine));
    let ran = berth(server.url(), "get workloads").await;
    assert!(ran.err.contains("old: no scheduler leads; "), "{}", ran.err);
    assert!(ran.err.contains("revision 88"), "{}", ran.err);
    let away = json!({"available": false, "error": "no answer", "state": "unreachable"});
    server.on("GET", "/status", follows(Some("one"), away));
    let ran = berth(server.url(), "get workloads").await;
    let says = "old: the store is out of reach: no answer; ";
    assert!(ran.err.contains(says), "{}", ran.err);
    // The script has no more: what was read is shown all the same.
    let ran = berth(server.url(), "get workloads").await;
    assert_eq!(ran.exit, Exit::Done);
    assert!(ran.err.contains("does not say how it is"), "{}", ran.err);
}

#[tokio::test]
async fn an_empty_list_says_whether_it_is_empty_or_could_not_be_read() {
    let server = Server::start().await;
    let none = |stale: bool| {
        let page = json!({"items": [], "more": false, "revision": 0, "stale": stale, "age_ms": 0});
        Answer::json(200, page)
    };
    let leads = |quarantined: u32| {
        let store = json!({"available": true, "state": "fine"});
        let health = json!({"mode": "normal", "leading": true, "leader": "one", "store": store});
        Answer::json(200, json!({"quarantined": quarantined, "health": health}))
    };
    let refused = json!({"available": false, "state": "refused", "why": "it was restored"});
    for line in ["get nodes", "top"] {
        server.on("GET", "/nodes", none(false));
        server.on("GET", "/status", leads(0));
        let ran = berth(server.url(), line).await;
        assert_eq!(
            ran.err, "no nodes; start some with `berth agent`\n",
            "{line}"
        );
        server.on("GET", "/nodes", none(false));
        server.on("GET", "/status", leads(3));
        let ran = berth(server.url(), line).await;
        let says = "no nodes are known; 3 records of the store cannot be read";
        assert!(ran.err.starts_with(says), "{line}: {}", ran.err);
        server.on("GET", "/nodes", none(true));
        server.on("GET", "/status", follows(None, refused.clone()));
        let ran = berth(server.url(), line).await;
        assert_eq!(
            ran.err,
            "no nodes are known\nnote: this may be old: the store is refused: it was restored; \
             nothing was read from it yet\n"
        );
    }
}
